"""How many rays at a time."""

from __future__ import annotations

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
    for flags, training, pictures in (
        ({"rays_per_chunk": 7}, 7, 7),
        ({"picture_rays_per_chunk": 5}, devices.CPU_RAYS_PER_CHUNK, 5),
        ({"rays_per_chunk": 7, "picture_rays_per_chunk": 5}, 7, 5),
        ({}, devices.CPU_RAYS_PER_CHUNK, devices.CPU_RAYS_PER_CHUNK),
    ):
        settings = small_config(**flags).rendering
        arguments = settings, renderer.sampler, renderer.model.final
        assert devices.training_rays_per_chunk(*arguments) == training
        assert devices.picture_rays_per_chunk(*arguments) == pictures


@pytest.mark.parametrize("gigabytes", [2, 4, 8, 16, 24, 64])
def test_what_is_chosen_fits_into_memory(monkeypatch: pytest.MonkeyPatch, gigabytes: int) -> None:
    """Paper-size networks took 5.2 GB for chunks of 1,024 rays, 5 MB per ray, when measured."""
    monkeypatch.setattr(devices, "_memory_bytes", lambda: gigabytes << 30)
    field, settings = RadianceField(), small_config().rendering
    rays = devices.training_rays_per_chunk(settings, PAPER, field)
    assert 1 <= rays <= devices.CPU_RAYS_PER_CHUNK
    assert rays * 5.1e6 < 0.3 * (gigabytes << 30)
    assert rays <= devices.picture_rays_per_chunk(settings, PAPER, field)
    assert (rays == devices.CPU_RAYS_PER_CHUNK) == (gigabytes >= 24)


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
