"""Captures with a transforms.json, as instant-ngp's and nerfstudio's scripts write it.

The scene is moved and scaled so that the point that the cameras look at is the origin and their
mean distance from it is 4, much like the synthetic scenes that the published settings are for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import read_json
from tfnerf.geometry.cameras import Cameras, distort, undistort
from tfnerf.geometry.poses import MIN_CONVERGENCE, check_poses, looking_at, meeting_point
from tfnerf.scenes.files import (
    names_of,
    read_frames,
    read_images,
    read_number,
    require_folder,
)
from tfnerf.scenes.scene import Scene, Views
from tfnerf.scenes.split import hold_out
from tfnerf.settings import SceneSettings

_log = logging.getLogger(__name__)
_MEAN_DISTANCE = 4.0
_NEAR_FRACTION, _FAR_FRACTION = 0.2, 3.0
"""Near and far as multiples of the smallest and the largest distance of a camera."""
_MIN_LOOKING = 0.5
"""Share of the cameras that must look at what is taken for the middle of the scene."""
_DISTORTION = ("k1", "k2", "p1", "p2")
_OTHER_DISTORTION = ("k3", "k4", "k5", "k6")
_PINHOLE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")


class UnknownRangeError(UserError):
    """Near and far cannot be told from the cameras."""


class Normalization(NamedTuple):
    """How a capture is moved and scaled, and where its rays begin and end."""

    origin: np.ndarray
    """[3], units of the file."""
    scale: float
    """Scene units per unit of the file."""
    near: float
    far: float


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Reads the capture; frames without an image are skipped, every Nth view is held out."""
    folder = require_folder(Path(settings.data_dir))
    path = folder / "transforms.json"
    content = read_json(path)
    frames, image_paths = _frames_with_images(content, path)
    images = read_images(image_paths, settings.factor)
    poses = check_poses(
        [frame.get("transform_matrix") for frame in frames],
        [f"{path}: {frame['file_path']}" for frame in frames],
    )
    normalization = normalize(poses, settings, path)
    poses[:, :, 3] = (poses[:, :, 3] - normalization.origin) * normalization.scale
    views = Views(
        images, 255, _cameras(poses, content, frames, images, path), names_of(image_paths)
    )
    scene_to_world = np.diag([1 / normalization.scale] * 3 + [1])
    scene_to_world[:3, 3] = normalization.origin
    return Scene(
        name=folder.name,
        splits=hold_out(views, settings.holdout_every, splits),
        near=normalization.near,
        far=normalization.far,
        white_background=settings.white_background,
        pixel_centers=settings.pixel_centers,
        scene_to_world=scene_to_world,
    )


def normalize(poses: np.ndarray, settings: SceneSettings, path: Path) -> Normalization:
    """Works out from poses [V, 3, 4] how to move and scale a capture.

    Raises:
      UnknownRangeError: the cameras look at nothing in common, and --near and --far are not given.
    """
    point, convergence = meeting_point(poses)
    if convergence < MIN_CONVERGENCE:
        if settings.near is None or settings.far is None:
            raise UnknownRangeError(
                f"{path}: the cameras look the same way, so near and far cannot be told from "
                "them: set --near and --far in units of this file"
            )
        return Normalization(np.zeros(3), 1.0, settings.near, settings.far)
    range_is_given = settings.near is not None and settings.far is not None
    if not range_is_given and looking_at(poses, point).mean() < _MIN_LOOKING:
        raise UnknownRangeError(
            f"{path}: the cameras look away from where their axes meet, as in a room, so near and "
            "far cannot be told from them: set --near and --far as python -m tfnerf.inspect advises"
        )
    distances = np.linalg.norm(poses[:, :, 3] - point, axis=-1)
    scale = _MEAN_DISTANCE / distances.mean()
    return Normalization(
        origin=point,
        scale=scale,
        near=float(_NEAR_FRACTION * scale * distances.min()),
        far=float(_FAR_FRACTION * scale * distances.max()),
    )


def _frames_with_images(
    content: dict[str, Any], path: Path
) -> tuple[list[dict[str, Any]], list[Path]]:
    """The frames whose image is there, in the order of their names, and the images."""
    frames = sorted(read_frames(content, path), key=lambda frame: frame["file_path"])
    found = [(frame, _find_image(path.parent, frame["file_path"])) for frame in frames]
    present = [(frame, image) for frame, image in found if image is not None]
    if len(present) < len(found):
        missing = next(frame["file_path"] for frame, image in found if image is None)
        _log.warning(
            "%s: %d of %d frames skipped, their images are missing (%s, ...)",
            path,
            len(found) - len(present),
            len(found),
            missing,
        )
    if not present:
        raise UserError(f"{path}: found no frame whose image is there")
    return [frame for frame, _ in present], [image for _, image in present]


def _find_image(folder: Path, file_path: str) -> Path | None:
    """The file of a frame; some scripts leave the suffix out."""
    for suffix in ("", ".png", ".jpg"):
        path = folder / (file_path + suffix)
        if path.is_file():
            return path
    return None


def _cameras(
    poses: np.ndarray,
    content: dict[str, Any],
    frames: Sequence[dict[str, Any]],
    images: np.ndarray,
    path: Path,
) -> Cameras:
    """Intrinsics stand once for all frames, or in each frame."""
    height, width = images.shape[1:3]
    intrinsics = [_intrinsics({**content, **frame}, width, height, path) for frame in frames]
    focal, center, distortion = (np.array(column, np.float32) for column in zip(*intrinsics))
    cameras = Cameras(poses.astype(np.float32), focal, center, distortion, height, width)
    _check_distortion(cameras, path)
    return cameras


def _check_distortion(cameras: Cameras, path: Path) -> None:
    """Raises UserError if no light can have reached the border of an image through its lens."""
    x, y = np.meshgrid([0, cameras.width / 2, cameras.width], [0, cameras.height])
    pixels = np.stack([x.ravel(), y.ravel()], -1).astype(np.float32)
    for focal, center, distortion in zip(cameras.focal, cameras.center, cameras.distortion):
        plane = (pixels - center) / focal
        lens = np.tile(distortion, [len(plane), 1])
        error = np.abs(distort(undistort(plane, lens), lens) - plane)
        if not error.max() < 1 / focal.max():
            values = ", ".join(f"{key} {value:g}" for key, value in zip(_DISTORTION, distortion))
            raise UserError(
                f"{path}: {values}: a lens cannot bend light so much, expected smaller ones"
            )


def _intrinsics(
    values: dict[str, Any], width: int, height: int, path: Path
) -> tuple[list[float], list[float], list[float]]:
    """Focal lengths [2] and principal point [2] in pixels of the images read; distortion [4]."""
    model = values.get("camera_model", "OPENCV")
    if model not in _PINHOLE_MODELS or values.get("is_fisheye"):
        raise UserError(f"{path}: camera_model is {model}, expected {' or '.join(_PINHOLE_MODELS)}")
    for key in _OTHER_DISTORTION:
        if values.get(key):
            raise UserError(f"{path}: {key} is {values[key]}, expected 0: undistort the images")

    def number(key: str, default: float) -> float:
        return read_number(values, key, path) if key in values else default

    full_width, full_height = number("w", width), number("h", height)
    if "fl_x" in values:
        focal_x = read_number(values, "fl_x", path)
    else:
        angle = read_number(values, "camera_angle_x", path)
        if not 0 < angle < np.pi:
            raise UserError(f"{path}: camera_angle_x is {angle}, expected radians from 0 to pi")
        focal_x = 0.5 * full_width / np.tan(0.5 * angle)
    focal_y = number("fl_y", focal_x)
    if not (focal_x > 0 and focal_y > 0 and full_width > 0 and full_height > 0):
        raise UserError(
            f"{path}: fl_x, fl_y, w and h are {focal_x:g}, {focal_y:g}, "
            f"{full_width:g} and {full_height:g}, expected positive numbers"
        )
    scale_x, scale_y = width / full_width, height / full_height
    # Shrinking rounds to whole pixels, and so do some scripts.
    if abs(full_height * scale_x - height) > max(1, 0.02 * height):
        raise UserError(
            f"{path}: w and h are {full_width:g} x {full_height:g}, but the images have "
            f"{width} x {height} pixels: another shape"
        )
    center_x, center_y = number("cx", full_width / 2), number("cy", full_height / 2)
    return (
        [focal_x * scale_x, focal_y * scale_y],
        [center_x * scale_x, center_y * scale_y],
        [number(key, 0.0) for key in _DISTORTION],
    )
