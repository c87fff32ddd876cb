"""What transforms files say of lenses, in all their spellings, and what of it is not used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfnerf.errors import UserError
from tfnerf.geometry.cameras import Cameras, distort, undistort
from tfnerf.scenes.files import read_number

_log = logging.getLogger(__name__)
_DISTORTION = ("k1", "k2", "p1", "p2")
_OTHER_DISTORTION = ("k3", "k4", "k5", "k6")
_PINHOLE_MODELS = ("OPENCV", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_OTHER_LENSES = (
    "is_fisheye",
    "is_latlong",
    "is_equirectangular",
    "equirectangular",
    "latlong",
    "fisheye_crop_radius",
    "rolling_shutter",
    "distortion_params",
)
"""Keys that bend rays in ways that are not known here, unless they are false or zero."""
_USED = {
    *("frames", "file_path", "transform_matrix", "w", "h", "fl_x", "fl_y", "cx", "cy"),
    *("camera_angle_x", "camera_angle_y", "camera_model", *_DISTORTION, *_OTHER_DISTORTION),
    *_OTHER_LENSES,
}
_WITHOUT_EFFECT = {
    # Of the volume and the viewer of other programs.
    *("aabb", "aabb_scale", "scale", "offset", "up", "centroid", "totp", "avglen", "render_aabb"),
    # Of how the file came about, and of other files beside it.
    *("sharpness", "rotation", "colmap_im_id", "ply_file_path", "orientation_override"),
    *("applied_transform", "applied_scale", "camera_label", "blur_score", "timestamp"),
    # Of which each frame has its own here, or the file has one for all.
    *("camera", "integer_depth_scale"),
}
"""Known keys that change neither rays nor pictures."""


def read_cameras(
    poses: np.ndarray,
    content: dict[str, Any],
    frames: Sequence[dict[str, Any]],
    size: tuple[int, int],
    path: Path,
    full_size: tuple[int, int] | None = None,
) -> Cameras:
    """Cameras of a transforms file; intrinsics stand once for all frames, or in each frame.

    Keys that are not used are named in a warning.

    Args:
      poses: [V, 3, 4], scene units.
      content: of the file.
      frames: V of them.
      size: height and width of the images, pixels.
      path: of the file.
      full_size: the same of the images that the file speaks of, if it does not say.

    Raises:
      UserError: a lens is none, or is of a kind that is not known.
    """
    intrinsics = [_intrinsics({**content, **frame}, size, full_size, path) for frame in frames]
    focal, center, distortion = (np.array(column, np.float32) for column in zip(*intrinsics))
    cameras = Cameras(poses.astype(np.float32), focal, center, distortion, *size)
    _check_distortion(cameras, path)
    _warn_of_unused_keys(content, frames, path)
    return cameras


def _warn_of_unused_keys(
    content: dict[str, Any], frames: Sequence[dict[str, Any]], path: Path
) -> None:
    found = set(content).union(*frames)
    unused = sorted(found - _USED - _WITHOUT_EFFECT)
    if unused:
        _log.warning("%s: not used: %s", path, ", ".join(f"{key:.40}" for key in unused[:12]))


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
    values: dict[str, Any], size: tuple[int, int], full_size: tuple[int, int] | None, path: Path
) -> tuple[list[float], list[float], list[float]]:
    """Focal lengths [2] and principal point [2] in pixels of the images read; distortion [4]."""
    _refuse_other_lenses(values, path)

    def number(key: str, default: float) -> float:
        return read_number(values, key, path) if key in values else default

    (height, width), (default_height, default_width) = size, full_size or size
    full_width, full_height = number("w", default_width), number("h", default_height)
    if "fl_x" in values:
        focal_x = read_number(values, "fl_x", path)
    else:
        focal_x = _focal_of_angle(values, "camera_angle_x", full_width, path)
    if "fl_y" not in values and "fl_x" not in values and "camera_angle_y" in values:
        focal_y = _focal_of_angle(values, "camera_angle_y", full_height, path)
    else:
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
            f"{width} x {height} pixels: {_how_shapes_differ(full_width, full_height, size)}"
        )
    center_x, center_y = number("cx", full_width / 2), number("cy", full_height / 2)
    return (
        [focal_x * scale_x, focal_y * scale_y],
        [center_x * scale_x, center_y * scale_y],
        [number(key, 0.0) for key in _DISTORTION],
    )


def _how_shapes_differ(full_width: float, full_height: float, size: tuple[int, int]) -> str:
    height, width = size
    if abs(full_height / full_width * height / width - 1) < 0.02:
        return "turned, as by an EXIF orientation, which is not applied: store the images upright"
    return "another shape"


def _refuse_other_lenses(values: dict[str, Any], path: Path) -> None:
    model = values.get("camera_model") or "OPENCV"
    if model not in _PINHOLE_MODELS:
        expected = " or ".join(_PINHOLE_MODELS)
        raise UserError(f"{path}: camera_model is {model!s:.40}, expected {expected}")
    for key in _OTHER_DISTORTION:
        if values.get(key):
            raise UserError(
                f"{path}: {key} is {values[key]!s:.40}, expected 0: undistort the images"
            )
    for key in values:
        if key.startswith("ftheta_") or (key in _OTHER_LENSES and np.any(values[key])):
            raise UserError(
                f"{path}: {key} speaks of a lens that is not known here: undistort the images"
            )


def _focal_of_angle(values: dict[str, Any], key: str, pixels: float, path: Path) -> float:
    """Focal length of an angle of view over a number of pixels."""
    angle = read_number(values, key, path)
    if not 0 < angle < np.pi:
        raise UserError(f"{path}: {key} is {angle}, expected radians from 0 to pi")
    return float(0.5 * pixels / np.tan(0.5 * angle))
