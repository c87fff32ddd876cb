"""What transforms files say of lenses, in all their spellings, and what of it is not used."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfnerf.errors import UserError
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.lenses import LensKind, distort, fisheye_angle, fisheye_radius, undistort
from tfnerf.scenes.files import read_number

_log = logging.getLogger(__name__)
_LENSES: dict[str, LensKind] = {
    "PINHOLE": "perspective",
    "SIMPLE_PINHOLE": "perspective",
    "SIMPLE_RADIAL": "perspective",
    "RADIAL": "perspective",
    "OPENCV": "perspective",
    "FULL_OPENCV": "perspective",
    "OPENCV_FISHEYE": "fisheye",
    "SIMPLE_RADIAL_FISHEYE": "fisheye",
    "RADIAL_FISHEYE": "fisheye",
    "EQUIRECTANGULAR": "equirectangular",
}
"""By what `camera_model` calls them."""
_LENS_FLAGS: dict[str, LensKind] = {
    "is_fisheye": "fisheye",
    "is_latlong": "equirectangular",
    "is_equirectangular": "equirectangular",
    "equirectangular": "equirectangular",
    "latlong": "equirectangular",
}
"""By the keys that are true for them (instant-ngp's)."""
_COEFFICIENTS: dict[LensKind, tuple[str, ...]] = {
    "perspective": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
    "fisheye": ("k1", "k2", "k3", "k4"),
    "equirectangular": (),
}
_ALL_COEFFICIENTS = _COEFFICIENTS["perspective"]
_SMALLEST = 1e-30
_FEW = 4
"""Coefficients of a perspective lens where the others are 0."""
_OTHER_LENSES = ("fisheye_crop_radius", "rolling_shutter", "distortion_params")
"""Keys that bend rays in ways that are not known here, unless they are false or zero."""
_USED = {
    *("frames", "file_path", "transform_matrix", "w", "h", "fl_x", "fl_y", "cx", "cy"),
    *("camera_angle_x", "camera_angle_y", "camera_model", *_ALL_COEFFICIENTS, *_LENS_FLAGS),
    *_OTHER_LENSES,
}
_WITHOUT_EFFECT = {
    # Of the volume and the viewer of other programs.
    *("aabb", "aabb_scale", "scale", "offset", "up", "centroid", "totp", "avglen", "render_aabb"),
    # Of how the file came about, and of other files beside it.
    *("sharpness", "rotation", "colmap_im_id", "ply_file_path", "orientation_override"),
    *("applied_transform", "applied_scale", "camera_label", "blur_score"),
    # Of which each frame has its own here, or the file has one for all.
    *("camera",),
}
"""Known keys that change neither rays nor pictures."""


def read_cameras(
    poses: np.ndarray,
    content: dict[str, Any],
    frames: Sequence[dict[str, Any]],
    size: tuple[int, int],
    path: Path,
    full_size: tuple[int, int] | None = None,
    used: Iterable[str] = (),
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
      used: keys that are read elsewhere.

    Raises:
      UserError: a lens is none, or is of a kind that is not known.
    """
    values = [_of_frame(content, frame) for frame in frames]
    lens = _lens_of_all(values, path)
    intrinsics = [_intrinsics(value, lens, size, full_size, path) for value in values]
    with np.errstate(over="ignore"):
        focal, center, distortion = (np.array(column, np.float32) for column in zip(*intrinsics))
    for name, values_of in (("focal lengths", focal), ("principal points", center)):
        if not np.isfinite(values_of).all():
            raise UserError(f"{path}: {name} are not finite in 32 bits")
    if lens == "perspective" and not distortion[:, _FEW:].any():
        distortion = distortion[:, :_FEW]
    cameras = Cameras(poses.astype(np.float32), focal, center, distortion, *size, lens=lens)
    _check_distortion(cameras, path)
    _warn_of_unused_keys(content, frames, _USED.union(used), path)
    return cameras


def _of_frame(content: dict[str, Any], frame: dict[str, Any]) -> dict[str, Any]:
    """What holds for a frame: what it says itself, and what the file says of all the others.

    Pixels go before angles, but not those of the file before an angle of the frame.
    """
    if "camera_angle_x" in frame and "fl_x" not in frame:
        content = {key: content[key] for key in content.keys() - {"fl_x", "fl_y"}}
    return {**content, **frame}


def _warn_of_unused_keys(
    content: dict[str, Any], frames: Sequence[dict[str, Any]], used: set[str], path: Path
) -> None:
    found = set(content).union(*frames)
    unused = sorted(found - used - _WITHOUT_EFFECT)
    if unused:
        _log.warning("%s: not used: %s", path, ", ".join(f"{key:.40}" for key in unused[:12]))


def _check_distortion(cameras: Cameras, path: Path) -> None:
    """Raises UserError if no light can have reached the border of an image through its lens."""
    x, y = np.meshgrid([0, cameras.width / 2, cameras.width], [0, cameras.height])
    if cameras.lens == "fisheye":  # whose corners are often black
        x, y = np.meshgrid([0, cameras.width], [cameras.height / 2])
    pixels = np.stack([x.ravel(), y.ravel()], -1)
    for focal, center, distortion in zip(cameras.focal, cameras.center, cameras.distortion):
        plane = (pixels - center) / np.maximum(focal, _SMALLEST)
        lens = np.tile(distortion.astype(np.float64), [len(plane), 1])
        with np.errstate(all="ignore"):  # numbers too large bend light to infinity
            error = _unbending_error(plane, lens, cameras.lens).max(initial=0)
        if not error < 1 / focal.max():
            names = _COEFFICIENTS[cameras.lens]
            values = ", ".join(f"{key} {value:g}" for key, value in zip(names, distortion))
            raise UserError(
                f"{path}: {values}: a lens cannot bend light so much, expected smaller ones"
            )


def _unbending_error(plane: np.ndarray, distortion: np.ndarray, lens: LensKind) -> np.ndarray:
    """By how much light goes astray on its way out of a lens and in again."""
    error: np.ndarray
    if lens == "equirectangular":
        return np.zeros(len(plane))
    if lens == "fisheye":
        radius = np.linalg.norm(plane, axis=-1)
        angle = fisheye_angle(radius, distortion).numpy()
        error = np.abs(fisheye_radius(angle, distortion) - radius)
        return np.where((angle >= 0) & (angle <= np.pi), error, np.inf)
    error = np.abs(distort(undistort(plane, distortion), distortion) - plane).max(-1)
    return error


def _intrinsics(
    values: dict[str, Any],
    lens: LensKind,
    size: tuple[int, int],
    full_size: tuple[int, int] | None,
    path: Path,
) -> tuple[list[float], list[float], list[float]]:
    """Focal lengths [2] and principal point [2] in pixels of the images read; coefficients."""
    if lens == "equirectangular":
        return _around(size), [size[1] / 2, size[0] / 2], [0.0] * _FEW

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
        [number(key, 0.0) for key in _COEFFICIENTS[lens]],
    )


def _how_shapes_differ(full_width: float, full_height: float, size: tuple[int, int]) -> str:
    height, width = size
    if abs(full_height / full_width * height / width - 1) < 0.02:
        return "turned, as by an EXIF orientation, which is not applied: store the images upright"
    return "another shape"


def _around(size: tuple[int, int]) -> list[float]:
    """Pixels a radian of a picture of all directions."""
    height, width = size
    return [width / (2 * np.pi), height / np.pi]


def _lens_of_all(values: Sequence[dict[str, Any]], path: Path) -> LensKind:
    """The kind of lens of frames; UserError if it is not known, or frames have different ones."""
    lenses = {_lens(value, path) for value in values}
    if len(lenses) > 1:
        raise UserError(f"{path}: found {' and '.join(sorted(lenses))} frames, expected one kind")
    return lenses.pop()


def _lens(values: dict[str, Any], path: Path) -> LensKind:
    model = values.get("camera_model") or "OPENCV"
    if not isinstance(model, str) or model not in _LENSES:
        raise UserError(
            f"{path}: camera_model is {model!s:.40}, expected {' or '.join(_LENSES)}; or undistort "
            "the images"
        )
    lens = _LENSES[model]
    for key, kind in _LENS_FLAGS.items():
        if key in values and np.any(values[key]):
            lens = kind
    for key in values:
        if key.startswith("ftheta_") or (key in _OTHER_LENSES and np.any(values[key])):
            raise UserError(
                f"{path}: {key} speaks of a lens that is not known here: undistort the images"
            )
    for key in set(_ALL_COEFFICIENTS) - set(_COEFFICIENTS[lens]):
        if values.get(key):
            raise UserError(
                f"{path}: {key} is {values[key]!s:.40}, expected 0 for a lens that is {lens}"
            )
    return lens


def _focal_of_angle(values: dict[str, Any], key: str, pixels: float, path: Path) -> float:
    """Focal length of an angle of view over a number of pixels."""
    angle = read_number(values, key, path)
    if not 0 < angle < np.pi:
        raise UserError(f"{path}: {key} is {angle}, expected radians from 0 to pi")
    return float(0.5 * pixels / np.tan(0.5 * angle))
