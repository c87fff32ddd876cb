"""A scene photographed through each kind of lens is learned as well as through a pinhole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tensorflow as tf
from small import small_planes_config

from tfnerf.evaluate.quality import measure_views
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.lenses import LensKind
from tfnerf.geometry.paths import orbit_pose
from tfnerf.geometry.poses import to_4x4
from tfnerf.scenes import Scene, load_scene
from tfnerf.settings import SceneSettings
from tfnerf.train.trainer import Trainer
from tfnerf.volume.image_renderer import ImageRenderer

pytestmark = pytest.mark.slow
HEIGHT, WIDTH = 40, 48
NUM_VIEWS = 24
LENSES: dict[str, tuple[LensKind, dict[str, Any]]] = {
    "pinhole": ("perspective", {"fl_x": 60.0, "fl_y": 60.0}),
    "full": (
        "perspective",
        {
            **{"fl_x": 60.0, "fl_y": 60.0, "k1": -0.3, "k2": 0.1, "p1": 0.01, "p2": -0.01},
            **{"k3": 0.02, "k4": 0.05, "k5": 0.01, "k6": 0.01},
        },
    ),
    "fisheye": (
        "fisheye",
        {
            **{"camera_model": "OPENCV_FISHEYE", "fl_x": 55.0, "fl_y": 55.0},
            **{"k1": 0.05, "k2": -0.02, "k3": 0.01, "k4": 0.0},
        },
    ),
}
_ORDER = {
    "perspective": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
}


def photograph(cameras: Cameras, view: int) -> np.ndarray:
    """A ball of radius 1 in the colours of its normals, [H, W, 4] uint8."""
    rays = cameras.image_rays(view, pixel_centers=True)
    origins, directions = (np.asarray(part, np.float64) for part in (rays.origins, rays.viewdirs))
    along = -(origins * directions).sum(-1)
    inside = along**2 - (origins**2).sum(-1) + 1
    hit = inside > 0
    points = origins + (along - np.sqrt(np.maximum(inside, 0)))[:, np.newaxis] * directions
    rgba = np.concatenate([colors_of(points) * hit[:, np.newaxis], hit[:, np.newaxis]], -1)
    return np.rint(255 * rgba).clip(0, 255).astype(np.uint8).reshape(HEIGHT, WIDTH, 4)


def capture(folder: Path, lens: LensKind, keys: dict[str, Any]) -> Scene:
    poses = np.stack([orbit_pose(0.7 * i, 0.3 + 0.25 * (i % 3), 3.5) for i in range(NUM_VIEWS)])
    coefficients = [keys.get(name, 0.0) for name in _ORDER[lens]]
    cameras = Cameras(
        camera_to_world=poses.astype(np.float32),
        focal=np.full([NUM_VIEWS, 2], keys["fl_x"], np.float32),
        center=np.tile(np.float32([WIDTH / 2, HEIGHT / 2]), [NUM_VIEWS, 1]),
        distortion=np.tile(np.float32(coefficients), [NUM_VIEWS, 1]),
        height=HEIGHT,
        width=WIDTH,
        lens=lens,
    )
    frames = []
    for view, pose in enumerate(to_4x4(poses)):
        imageio.imwrite(folder / f"{view:02d}.png", photograph(cameras, view))
        frames.append({"file_path": f"{view:02d}.png", "transform_matrix": pose.tolist()})
    (folder / "transforms.json").write_text(json.dumps({**keys, "frames": frames}))
    return load_scene(
        SceneSettings(dataset="transforms", data_dir=str(folder), white_background=True)
    )


def panoramas(folder: Path) -> Scene:
    """Pictures all around of a hollow ball of radius 2, from places near its middle."""
    poses = np.tile(np.eye(4)[:3], [NUM_VIEWS, 1, 1])
    poses[:, :, 3] = np.random.default_rng(0).uniform(-0.6, 0.6, [NUM_VIEWS, 3])
    height, width = 32, 64
    cameras = Cameras(
        camera_to_world=poses.astype(np.float32),
        focal=np.full([NUM_VIEWS, 2], width / (2 * np.pi), np.float32),
        center=np.tile(np.float32([width / 2, height / 2]), [NUM_VIEWS, 1]),
        distortion=np.zeros([NUM_VIEWS, 4], np.float32),
        height=height,
        width=width,
        lens="equirectangular",
    )
    frames = []
    for view, pose in enumerate(to_4x4(poses)):
        rays = cameras.image_rays(view, pixel_centers=True)
        origins, directions = (np.asarray(part, np.float64) for part in rays[:2])
        along = -(origins * directions).sum(-1)
        reach = along + np.sqrt(along**2 - (origins**2).sum(-1) + 4)
        image = colors_of(0.5 * (origins + reach[:, np.newaxis] * directions))
        name = f"{view:02d}.png"
        imageio.imwrite(folder / name, np.rint(255 * image).astype(np.uint8).reshape(32, 64, 3))
        frames.append({"file_path": name, "transform_matrix": pose.tolist()})
    content = {"camera_model": "EQUIRECTANGULAR", "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    return load_scene(SceneSettings(dataset="transforms", data_dir=str(folder), near=0.5, far=3.0))


def colors_of(points: np.ndarray) -> np.ndarray:
    """Of places [N, 3] on a ball of radius 1: [N, 3], 0 to 1."""
    stripes = np.where(np.floor(3 * points) % 2 == 0, 0.5, 1.0)
    colors: np.ndarray = stripes * (0.5 + 0.5 * points)
    return colors


def learned(scene: Scene) -> float:
    """PSNR of held-out views after some training, dB."""
    config = small_planes_config(
        first_plane_resolution=24,
        plane_resolution=48,
        plane_proportions="1,1,1",
        density_components="6",
        color_components="8",
        decoder_width=24,
        num_samples=24,
        num_probes=64,
        grid_resolution=48,
        batch_size=1024,
        learning_rate=1e-3,
        refine_steps="80",
        white_background=scene.white_background,
    )
    trainer = Trainer(scene, config, tf.distribute.get_strategy())
    for steps in (80, 140):
        trainer.run(steps)
        if trainer.refines_now:
            trainer = trainer.refined()
    renderer = ImageRenderer(trainer.renderer, config.rendering)
    assert scene.held_out is not None
    measured = measure_views(renderer, scene, scene.held_out)
    return float(np.mean([view.exact.psnr for view in measured]))


@pytest.fixture(scope="module")
def through_a_pinhole(tmp_path_factory: pytest.TempPathFactory) -> float:
    return learned(capture(tmp_path_factory.mktemp("pinhole"), *LENSES["pinhole"]))


@pytest.mark.parametrize("name", ["full", "fisheye"])
def test_a_lens_costs_nothing(through_a_pinhole: float, tmp_path: Path, name: str) -> None:
    assert through_a_pinhole > 20
    found = learned(capture(tmp_path, *LENSES[name]))
    print(name, found, through_a_pinhole)
    assert found > through_a_pinhole - 0.5


def test_panoramas_are_learned_from_inside(tmp_path: Path) -> None:
    scene = panoramas(tmp_path)
    found = learned(scene)
    assert found > 24
