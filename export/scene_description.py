"""What a served model says of itself, so that clients need no data set and no run folder."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import numpy as np

import tfnerf
from export.served_scene import DEPTH_LEVELS, MAX_PIXELS
from tfnerf.evaluate.grid_cost import GridCost
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import MIN_CONVERGENCE, average_pose, meeting_point, transformed
from tfnerf.runs.trained import TrainedRun
from tfnerf.scenes import Scene
from tfnerf.scenes.paths import default_path, path_cameras
from tfnerf.settings import RenderSettings

_NUM_POSES = 60
_HALF_SIZE = 0.5
"""Of the box around the scene, as a fraction of the cameras' distance."""


def describe_scene(
    run: TrainedRun,
    scene: Scene,
    settings: RenderSettings,
    dtype: str,
    cost: GridCost | None = None,
) -> dict[str, Any]:
    """All that a client needs to make pictures, in world coordinates (those of the scene's files).

    Args:
      run: that is exported.
      scene: of it.
      settings: how the exported model samples rays.
      dtype: of its weights.
      cost: of a grid that the run was given after training; None: it was given none.
    """
    cameras = scene.train.cameras
    name = default_path(scene)
    path = path_cameras(scene, run.config.scene, name, _NUM_POSES)
    target, distance = _target(scene)
    half_size = _HALF_SIZE * distance
    return {
        "name": scene.name,
        "near": scene.near * scene.depth_scale,
        "far": scene.far * scene.depth_scale,
        "ndc": scene.ndc is not None,
        "bounds": [(target - half_size).tolist(), (target + half_size).tolist()],
        "target": target.tolist(),
        "up": _up(scene).tolist(),
        "width": cameras.width,
        "height": cameras.height,
        "focal": float(cameras.focal.mean()),
        "camera_path": {"name": name, "camera_to_world": _in_world(scene, path).tolist()},
        "pixel_centers": scene.pixel_centers,
        "white_background": scene.white_background,
        "depth_levels": DEPTH_LEVELS,
        "most_pixels": MAX_PIXELS,
        "step": run.step,
        "field": run.config.network.field,
        "sampler": settings.sampler,
        **_num_samples(settings),
        "dtype": dtype,
        **({} if cost is None else {"grid": cost._asdict()}),
        **_conditions(scene),
        "versions": {
            "tfnerf": tfnerf.__version__,
            **{package: metadata.version(package) for package in ("tensorflow", "keras")},
        },
    }


def _conditions(scene: Scene) -> dict[str, dict[str, Any]]:
    """Which rows of each condition may be asked for; nothing for scenes that have none."""
    described = {name: condition.to_json() for name, condition in scene.conditions.items()}
    return {"conditions": described} if described else {}


def _num_samples(settings: RenderSettings) -> dict[str, int]:
    """Samples per ray, by the names of the flags that say so."""
    if settings.sampler == "grid":
        return {"num_samples": settings.num_samples}
    return {
        "num_coarse_samples": settings.num_coarse_samples,
        "num_fine_samples": settings.num_fine_samples,
    }


def _target(scene: Scene) -> tuple[np.ndarray, float]:
    """What the cameras look at, in world coordinates, and how far away it is."""
    poses = _in_world(scene, scene.train.cameras)
    center, convergence = meeting_point(poses)
    if convergence >= MIN_CONVERGENCE and scene.ndc is None:
        return center, float(np.linalg.norm(poses[:, :, 3] - center, axis=-1).mean())
    nearest, farthest = scene.depth_bounds
    # Halfway between, in disparity.
    distance = scene.world_scale * 2 / (1 / max(nearest, 1e-6) + 1 / farthest)
    middle = average_pose(poses)
    return middle[:, 3] - distance * middle[:, 2], distance


def _up(scene: Scene) -> np.ndarray:
    """What the cameras hold for up on average, in world axes."""
    up = _in_world(scene, scene.train.cameras)[:, :, 1].mean(0)
    return up / np.linalg.norm(up)


def _in_world(scene: Scene, cameras: Cameras) -> np.ndarray:
    return transformed(scene.scene_to_world, cameras.camera_to_world.astype(np.float64))
