"""Fingerprints of what pictures depend on."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small import small_model, small_renderer, small_scene

from tfnerf.fingerprint import fingerprint


@dataclasses.dataclass(frozen=True)
class Part:
    """Something that pictures depend on."""

    number: float
    values: np.ndarray


def test_the_same_parts_have_the_same_fingerprint() -> None:
    parts = [Part(1.0, np.arange(3)), {"b": 2, "a": None}, "text"]
    again = [Part(1.0, np.arange(3)), {"a": None, "b": 2}, "text"]
    assert fingerprint(*parts) == fingerprint(*again)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((1,), (1.0,)),
        (("ab", "c"), ("a", "bc")),
        (([1], 2), ([1, 2],)),
        ((None,), ("None",)),
        ((np.zeros(4),), (np.zeros([2, 2]),)),
        ((np.zeros(2),), (np.zeros(4, np.float32),)),
        ((Part(1.0, np.zeros(2)),), (Part(1.0, np.ones(2)),)),
        (({"a": 1},), ({"b": 1},)),
    ],
)
def test_other_parts_have_another_fingerprint(one: tuple, other: tuple) -> None:
    assert fingerprint(*one) != fingerprint(*other)


def test_what_cannot_be_told_apart_is_refused() -> None:
    with pytest.raises(TypeError, match="found a function, which has no fingerprint"):
        fingerprint(lambda: None)


def test_a_renderer_tells_all_that_its_pictures_depend_on() -> None:
    scene, model = small_scene(), small_model()
    renderer = small_renderer(scene, model)
    assert renderer.fingerprint == small_renderer(scene, model).fingerprint
    others = [
        small_renderer(scene),
        small_renderer(scene, model, num_fine_samples=9),
        small_renderer(scene, model, lindisp=True),
        small_renderer(dataclasses.replace(scene, near=1.9), model),
        small_renderer(dataclasses.replace(scene, white_background=False), model),
        small_renderer(dataclasses.replace(scene, pixel_centers=False), model),
    ]
    assert len({other.fingerprint for other in (renderer, *others)}) == len(others) + 1
