"""Choosing times, lights and appearances as users write them."""

from __future__ import annotations

import numpy as np
import pytest

from tfnerf.errors import UserError
from tfnerf.geometry.conditions import Condition, choose

TIME = Condition.of("time", np.float32([0.2, 0.9, 0.4]))
LIGHT = Condition.of("light", np.float32([[0, 0, 4], [5, 0, 0]]))
LOOK = Condition((2,), 0, 2, 2, {"a": [0.0, 1.0], "b": [1.0, 0.0]})


def chosen(conditions: dict[str, Condition], num_frames: int = 3, **texts: str) -> dict:
    rows = choose(
        conditions, {"time": None, "light": None, "appearance": None, **texts}, num_frames
    )
    assert rows is not None
    return {name: values.tolist() for name, values in rows.items()}


def test_times() -> None:
    assert chosen({"time": TIME}, time="0.5") == {"time": [0.5, 0.5, 0.5]}
    sweep = chosen({"time": TIME}, time="sweep")["time"]
    np.testing.assert_allclose(sweep, [0.2, 0.55, 0.9], rtol=1e-6)
    # The ends are 32-bit numbers, and may be asked for as they were written.
    assert chosen({"time": TIME}, 1, time="0.9") == {"time": [np.float32(0.9)]}


def test_lights() -> None:
    assert chosen({"light": LIGHT}, 2, light="0,3,4") == {"light": [[0, 3, 4], [0, 3, 4]]}
    orbit = np.array(chosen({"light": LIGHT}, 8, light="orbit")["light"])
    assert (orbit[:, 2] > 0).all() and len(np.unique(orbit[:, 0].round(4))) > 4
    lengths = np.linalg.norm(orbit, axis=-1)
    np.testing.assert_allclose(lengths, lengths[0], rtol=1e-5)
    assert 2 <= lengths[0] <= 10


def test_appearances() -> None:
    assert chosen({"appearance": LOOK}, 1) == {"appearance": [[0.5, 0.5]]}
    assert chosen({"appearance": LOOK}, 1, appearance="mean") == {"appearance": [[0.5, 0.5]]}
    assert chosen({"appearance": LOOK}, 2, appearance="b.jpg") == {"appearance": [[1, 0], [1, 0]]}
    assert chosen({"appearance": LOOK}, 1, appearance="b") == {"appearance": [[1, 0]]}
    blend = chosen({"appearance": LOOK}, 1, appearance="a:b.jpg:0.25")
    assert blend == {"appearance": [[0.25, 0.75]]}


def test_a_scene_without_conditions_has_none() -> None:
    assert choose({}, {"time": None, "light": None}, 3) is None


def test_cameras_that_say_their_own_are_listened_to(caplog: pytest.LogCaptureFixture) -> None:
    said = {"time": np.float32([0.3, 0.4, 0.5])}
    rows = choose({"time": TIME}, {"time": None}, 3, said)
    np.testing.assert_array_equal(rows["time"], said["time"])
    rows = choose({"time": TIME}, {"time": "0.6"}, 3, said)
    np.testing.assert_array_equal(rows["time"], np.float32([0.6] * 3))
    assert choose({}, {"time": None}, 3, said) is None
    assert "the time of the cameras has no effect" in caplog.text
    said["time"][1] = 0.1
    with pytest.raises(UserError, match=r"--time: frame 1 has 0\.1; expected a time"):
        choose({"time": TIME}, {"time": None}, 3, said)


@pytest.mark.parametrize(
    ("conditions", "texts", "message"),
    [
        ({"time": TIME}, {}, "--time: not given, expected a time from 0.2 to 0.9"),
        ({"time": TIME}, {"time": "1.5"}, "--time=1.5: expected a time from 0.2 to 0.9"),
        ({"time": TIME}, {"time": "0.1"}, "--time=0.1: expected a time"),
        ({"time": TIME}, {"time": "nan"}, "--time=nan: expected a time"),
        ({"time": TIME}, {"time": "noon"}, "--time=noon: expected a time"),
        ({"time": TIME}, {"time": "0.3,0.4"}, "--time=0.3,0.4: expected a time"),
        ({}, {"time": "0.5"}, "--time=0.5: the scene was trained without"),
        ({"light": LIGHT}, {}, "--light: not given, expected x,y,z, 2 to 10 from the middle"),
        ({"light": LIGHT}, {"light": "0,0,0.5"}, "--light=0,0,0.5: expected x,y,z"),
        ({"light": LIGHT}, {"light": "0,4"}, "--light=0,4: expected x,y,z"),
        ({"light": LIGHT}, {"light": "0,nan,4"}, "--light=0,nan,4: expected x,y,z"),
        ({}, {"light": "orbit"}, "--light=orbit: the scene was trained without"),
        ({"appearance": LOOK}, {"appearance": "c.jpg"}, "--appearance=c.jpg: expected the name"),
        ({"appearance": LOOK}, {"appearance": "a.jpg:b.jpg:2"}, "expected the name of an image"),
        ({"appearance": LOOK}, {"appearance": "a.jpg:b.jpg"}, "expected the name of an image"),
    ],
)
def test_what_makes_no_sense_is_refused(
    conditions: dict[str, Condition], texts: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as found:
        choose(conditions, texts, 3)
    assert message in str(found.value) and "\n" not in str(found.value)


def test_one_frame_has_nothing_to_sweep() -> None:
    with pytest.raises(UserError, match="--time=sweep: needs several frames, and there is one"):
        choose({"time": TIME}, {"time": "sweep"}, 1)


@pytest.mark.parametrize("condition", [TIME, LIGHT, LOOK])
def test_descriptions_are_read_back(condition: Condition) -> None:
    assert Condition.from_json(condition.to_json()) == condition
