"""How many rays at a time."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from small import small_config, small_renderer, small_scene

from tfnerf.fields.mlp import RadianceField
from tfnerf.volume import devices
from tfnerf.volume.samplers.hierarchical import Hierarchical

PAPER = Hierarchical(RadianceField(net_depth=1, net_width=2), 2.0, 6.0, 64, 128)


def test_flags_win() -> None:
    renderer = small_renderer(small_scene())
    most = devices.cpu_rays_per_chunk(renderer.sampler)
    for flags, training, pictures in (
        ({"rays_per_chunk": 7}, 7, 7),
        ({"picture_rays_per_chunk": 5}, most, 5),
        ({"rays_per_chunk": 7, "picture_rays_per_chunk": 5}, 7, 5),
        ({}, most, most),
    ):
        settings = small_config(**flags).rendering
        arguments = settings, renderer.sampler, renderer.model.final
        assert devices.training_rays_per_chunk(*arguments) == training
        assert devices.picture_rays_per_chunk(*arguments) == pictures


def test_rays_with_few_points_are_worked_on_more_at_a_time() -> None:
    assert devices.cpu_rays_per_chunk(PAPER) == 1024
    few = dataclasses.replace(PAPER, coarse=None, num_coarse_samples=16)
    assert devices.cpu_rays_per_chunk(few) == 16384


@pytest.mark.parametrize("gigabytes", [2, 4, 8, 16, 24, 64])
def test_what_is_chosen_fits_into_memory(monkeypatch: pytest.MonkeyPatch, gigabytes: int) -> None:
    """Paper-size networks took 5.2 GB for chunks of 1,024 rays, 5 MB per ray, when measured."""
    monkeypatch.setattr(devices, "_memory_bytes", lambda: gigabytes << 30)
    field, settings = RadianceField(), small_config().rendering
    rays = devices.training_rays_per_chunk(settings, PAPER, field)
    assert 1 <= rays <= 1024
    assert rays * 5.1e6 < 0.3 * (gigabytes << 30)
    assert rays <= devices.picture_rays_per_chunk(settings, PAPER, field)
    assert (rays == 1024) == (gigabytes >= 24)


@pytest.mark.parametrize(
    ("text", "limits"), [("3000000000\n", True), ("max\n", False), ("9223372036854771712\n", False)]
)
def test_a_container_has_the_memory_that_it_may_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, limits: bool
) -> None:
    (tmp_path / "memory.max").write_text(text)
    paths = (tmp_path / "none", tmp_path / "memory.max")
    monkeypatch.setattr(devices, "_CONTAINER_LIMITS", ())
    installed = devices._memory_bytes()
    monkeypatch.setattr(devices, "_CONTAINER_LIMITS", paths)
    assert devices._memory_bytes() == (3_000_000_000 if limits else installed)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("echo 81559; echo 40960", 40960 << 20),
        ("echo none", devices._UNKNOWN_GPU_BYTES),
        ("exit 9", devices._UNKNOWN_GPU_BYTES),
    ],
)
def test_the_driver_is_asked_for_the_memory_of_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: int
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert devices._gpu_memory_bytes() == found
