"""Cameras for pictures of a scene: the paths of the original, those of its views, keyframes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfnerf.errors import UserError
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.keyframes import read_keyframes
from tfnerf.geometry.paths import (
    ORBIT_RADIUS,
    circle_path,
    orbit_around,
    orbit_path,
    spiral_path,
)
from tfnerf.geometry.poses import (
    MIN_CONVERGENCE,
    average_pose,
    meeting_point,
    relative_to,
    to_4x4,
    transformed,
)
from tfnerf.scenes import Scene
from tfnerf.settings import SceneSettings

_BLENDER_LIKE = ("blender", "tiny_nerf", "builtin")
"""Data sets whose objects stand upright at the origin, and whose published cameras are 4 away."""
_TOLERANCE = 0.1
"""Share by which cameras may be nearer or farther for the original's circle."""


def default_path(scene: Scene) -> str:
    """Spiral before a forward-facing scene, orbit around any other."""
    _, convergence = meeting_point(_captured_poses(scene))
    return "spiral" if scene.ndc or convergence < MIN_CONVERGENCE else "orbit"


def path_cameras(scene: Scene, settings: SceneSettings, name: str, num_frames: int) -> Cameras:
    """Along "orbit" or "spiral", or "still" where the default one of these begins.

    Raises:
      UserError: the scene has no such path.
    """
    if name == "still":
        moving = path_cameras(scene, settings, default_path(scene), num_frames)
        return moving[np.zeros(num_frames, int)]
    if name == "orbit":
        return _orbit_cameras(scene, settings, num_frames)
    return _spiral_cameras(scene, num_frames)


def _orbit_cameras(scene: Scene, settings: SceneSettings, num_frames: int) -> Cameras:
    """Around the scene: the original's circle where it has one."""
    poses = _captured_poses(scene)
    if settings.dataset in _BLENDER_LIKE:
        distance = float(np.median(np.linalg.norm(poses[:, :, 3], axis=-1)))
        as_published = abs(distance / ORBIT_RADIUS - 1) < _TOLERANCE
        radius = ORBIT_RADIUS if as_published else distance
        return _cameras(scene, orbit_path(num_frames, radius=radius))
    if settings.spherify:
        return _cameras(scene, circle_path(poses, num_frames))
    try:
        return _cameras(scene, orbit_around(poses, num_frames))
    except ValueError as error:
        raise UserError(f"--camera_path=orbit: {error}; use --camera_path=spiral") from None


def _spiral_cameras(scene: Scene, num_frames: int) -> Cameras:
    """Before the scene: the original's spiral around the average camera."""
    poses = _captured_poses(scene)
    try:
        frame = average_pose(poses)
    except ValueError as error:
        raise UserError(f"--camera_path=spiral: {error}; use --camera_path=orbit") from None
    path = spiral_path(relative_to(frame, poses), *scene.depth_bounds, num_frames)
    return _cameras(scene, (to_4x4(frame) @ to_4x4(path))[:, :3])


def keyframe_cameras(scene: Scene, path: Path, num_frames: int) -> Cameras:
    """Through the keyframes of a file, which are in the world coordinates of the scene's files."""
    keyframes = read_keyframes(path).path(num_frames)
    poses = transformed(np.linalg.inv(scene.scene_to_world), keyframes.poses)
    cameras = keyframes.seen_by(_cameras(scene, poses)).under(keyframes.conditions)
    if scene.ndc is not None:
        _check_forward(cameras, path)
    return cameras


def _check_forward(cameras: Cameras, path: Path) -> None:
    """Raises UserError if a camera sees what NDC do not hold: anything that is not before them."""
    corners = np.array([[0, 0, -1, -1], [0, -1, 0, -1]])
    row, column = corners % [[cameras.height], [cameras.width]]
    for index in range(len(cameras)):
        view = np.full(4, index)
        if cameras.rays(view, row, column, pixel_centers=True).directions.numpy()[:, 2].max() >= 0:
            raise UserError(
                f"{path}: frame {index} of the path looks sideways or back, and the scene is in "
                "NDC, which hold only what is in front"
            )


def split_cameras(scene: Scene, split: str) -> Cameras:
    """Those that took the views of a split, lens distortion and all."""
    views = scene.splits.get(split)
    if views is None or not len(views):
        raise UserError(f"--camera_path={split}: {scene.name} has no such views")
    return views.cameras


def _captured_poses(scene: Scene) -> np.ndarray:
    """Of all views, [V, 3, 4]."""
    views = [views for views in scene.splits.values() if len(views)]
    return np.concatenate([view.cameras.camera_to_world for view in views]).astype(np.float64)


def _cameras(scene: Scene, poses: np.ndarray) -> Cameras:
    """Pinhole cameras of the size and the mean focal length of the training views."""
    cameras = scene.train.cameras
    return Cameras.pinhole(poses, cameras.height, cameras.width, float(cameras.focal.mean()))
