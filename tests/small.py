"""A scene and settings so small that training takes milliseconds a step."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tfnerf.fields.model import NeRF, make_model
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.paths import orbit_pose
from tfnerf.scenes import Scene, Views
from tfnerf.settings import (
    Config,
    NetworkSettings,
    RenderSettings,
    TrainingSettings,
)
from tfnerf.volume.scene_renderer import SceneRenderer

NETWORK = NetworkSettings(
    net_depth=3, net_width=16, skip_layer=1, position_frequencies=4, direction_frequencies=2
)
RENDERING = RenderSettings(
    num_coarse_samples=8, num_fine_samples=8, density_noise_std=0.1, jit_compile="off"
)
TRAINING = TrainingSettings(
    seed=1, num_steps=20, batch_size=64, learning_rate=5e-3, checkpoint_every=5, eval_every=0
)


def small_config(**changes: Any) -> Config:
    """The small settings, with some of them changed by the name of their flag."""
    return Config(network=NETWORK, rendering=RENDERING, training=TRAINING).replaced(**changes)


def small_planes_config(**changes: Any) -> Config:
    """Planes and a grid of the same size, which become finer after steps 6 and 12."""
    network = NetworkSettings(
        field="planes",
        first_plane_resolution=8,
        plane_resolution=16,
        plane_proportions="1,0.9,0.6",
        density_components="2",
        color_components="3,2,1",
        decoder_width=8,
        direction_frequencies=2,
    )
    rendering = RenderSettings(sampler="grid", num_samples=8, num_probes=16, grid_resolution=12)
    training = dataclasses.replace(
        TRAINING, learning_rate=5e-4, refine_steps="6,12", draws_per_ray=2
    )
    return Config(network=network, rendering=rendering, training=training).replaced(**changes)


def learning_planes_config(**changes: Any) -> Config:
    """Planes and a grid that are large enough to learn the built-in scene in a hundred steps."""
    large_enough = {
        "first_plane_resolution": 24,
        "plane_resolution": 32,
        "grid_resolution": 32,
        "num_probes": 48,
        "num_samples": 16,
        "batch_size": 512,
    }
    return small_planes_config(**large_enough, **changes)


def small_model(**changes: Any) -> NeRF:
    """New networks of the small settings."""
    return make_model(small_config(**changes))


def small_renderer(scene: Scene, model: NeRF | None = None, **changes: Any) -> SceneRenderer:
    """The renderer of a scene with the small settings, and new networks unless some are given."""
    return SceneRenderer.of(scene, model or small_model(), small_config(**changes).rendering)


def small_scene(num_views: int = 4, height: int = 12, width: int = 16) -> Scene:
    """A red disc on a transparent background, seen from around."""
    poses = np.stack([orbit_pose(azimuth, 0.5, 4.0) for azimuth in range(num_views)])
    row, column = np.mgrid[:height, :width]
    disc = (row - height / 2) ** 2 + (column - width / 2) ** 2 < (height / 3) ** 2
    image = np.zeros([height, width, 4], np.uint8)
    image[disc] = [200, 40, 30, 255]
    views = Views(
        images=np.tile(image, [num_views, 1, 1, 1]),
        white_level=255,
        cameras=Cameras.pinhole(poses, height, width, 1.5 * width),
        names=tuple(f"view_{index}" for index in range(num_views)),
    )
    return Scene(
        name="disc",
        splits={"train": views, "test": views.select([0])},
        near=2.0,
        far=6.0,
        white_background=True,
        pixel_centers=True,
    )


def small_scene_under(*names: str) -> Scene:
    """The same, whose views have times, or lights, of their own."""
    scene = small_scene()
    views = scene.train
    angles = np.arange(len(views))
    rows = {
        "time": np.linspace(0, 1, len(views), dtype=np.float32),
        "light": np.float32(np.stack([np.cos(angles), np.sin(angles), 1 + 0 * angles], -1)),
    }
    cameras = views.cameras.under({name: rows[name] for name in names})
    views = dataclasses.replace(views, cameras=cameras)
    return dataclasses.replace(scene, splits={"train": views, "test": views.select([2, 1])})
