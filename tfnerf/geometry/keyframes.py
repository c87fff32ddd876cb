"""Keyframes of a camera path, read from a JSON file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import read_json
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.conditions import CONDITIONS
from tfnerf.geometry.paths import interpolated, interpolated_along
from tfnerf.geometry.poses import check_poses


class Keyframes(NamedTuple):
    """Cameras that a path goes through."""

    poses: np.ndarray
    """camera_to_world of each, [K, 3, 4], in the world coordinates of the scene's files; the axes
    of a camera are right, up and back."""
    focal: np.ndarray | None = None
    """[K], focal lengths as parts of the width of the image; None: the file does not say."""
    conditions: dict[str, np.ndarray] | None = None
    """Rows [K, ...] of conditions that cameras are to see, by name (`Cameras.conditions`)."""

    def path(self, num_poses: int) -> Keyframes:
        """A smooth way through all of them, poses and focal lengths."""
        focal, conditions = self.focal, self.conditions
        if focal is not None:
            focal = interpolated_along(self.poses, focal, num_poses)
        if conditions is not None:
            conditions = {
                name: interpolated_along(self.poses, rows, num_poses).astype(np.float32)
                for name, rows in conditions.items()
            }
        return Keyframes(interpolated(self.poses, num_poses), focal, conditions)

    def seen_by(self, cameras: Cameras) -> Cameras:
        """Cameras at these places with the focal lengths of the file, if it says any."""
        if self.focal is None:
            return cameras
        focal = cameras.width * np.stack([self.focal, self.focal], -1)
        return cameras.with_focal(focal.astype(np.float32))


def read_keyframes(path: Path, at_least: int = 2) -> Keyframes:
    """Reads {"frames": [{"transform_matrix": [[...], ...]}, ...]}, as in a transforms.json.

    Fields of view are those of `camera_angle_x`, or `fl_x` and `w`, in the file or in each frame;
    each frame may have a `time`, a `light` and an `appearance`.

    Args:
      path: the file.
      at_least: how many there must be; there is a way between two.

    Raises:
      UserError: there are fewer, a matrix is no pose, or a field of view or a condition is none.
    """
    content = read_json(path)
    frames = content.get("frames")
    if not isinstance(frames, list) or len(frames) < at_least:
        raise UserError(f'{path}: expected a list named "frames", at least {at_least} long')
    where = [f"{path}: frame {number}" for number in range(len(frames))]
    poses = check_poses([_matrix_of(frame, name) for frame, name in zip(frames, where)], where)
    focal = [_focal_of(frame, content, name) for frame, name in zip(frames, where)]
    rows = {
        name: _all_or_none(
            [_row_of(frame, name, place) for frame, place in zip(frames, where)], name, where
        )
        for name in CONDITIONS
    }
    conditions = {name: values for name, values in rows.items() if values is not None}
    return Keyframes(poses, _all_or_none(focal, "camera_angle_x", where), conditions or None)


def _all_or_none(values: list[Any], key: str, where: list[str]) -> np.ndarray | None:
    """Values [K, ...] of all frames; None if no frame has one."""
    saying = [value for value in values if value is not None]
    if saying and len(saying) < len(values):
        raise UserError(
            f"{where[values.index(None)]}: has no {key}, expected one as in other frames"
        )
    if len({np.shape(value) for value in saying}) > 1:
        raise UserError(f"{where[0]}: {key} has another length than in other frames")
    return np.array(saying) if saying else None


def _matrix_of(frame: object, where: str) -> object:
    if not isinstance(frame, dict) or "transform_matrix" not in frame:
        raise UserError(f'{where}: expected an object with a "transform_matrix"')
    return frame["transform_matrix"]


def _focal_of(frame: dict[str, Any], content: dict[str, Any], where: str) -> float | None:
    """A focal length as part of the width; None if nothing is said of it.

    As in scene files a frame goes before the file, and pixels go before an angle.
    """
    values = {**content, **frame}
    own_angle = "camera_angle_x" in frame and "fl_x" not in frame
    in_pixels = {"fl_x", "w"} <= values.keys() and not own_angle
    if "camera_angle_x" in values and not in_pixels:
        angle = _number(values["camera_angle_x"])
        if not 0 < angle < math.pi:
            raise UserError(
                f"{where}: camera_angle_x is {values['camera_angle_x']!r:.40}, expected radians "
                "from 0 to pi"
            )
        return 0.5 / math.tan(0.5 * angle)
    if in_pixels:
        pixels, width = _number(values["fl_x"]), _number(values["w"])
        if not (pixels > 0 and width > 0):
            raise UserError(
                f"{where}: fl_x and w are {values['fl_x']!r:.40} and {values['w']!r:.40}, expected "
                "positive numbers"
            )
        return pixels / width
    return None


def _row_of(frame: dict[str, Any], name: str, where: str) -> float | list[float] | None:
    """A condition; None if nothing is said of it."""
    if name not in frame:
        return None
    value = frame[name]
    row = [_number(number) for number in value] if isinstance(value, list) else _number(value)
    if not np.isfinite(row).all() or isinstance(row, list) == (name == "time"):
        expected = "a number" if name == "time" else "a list of numbers"
        raise UserError(f"{where}: {name} is {value!r:.40}, expected {expected}")
    return row


def _number(value: Any) -> float:
    """NaN for what is no number."""
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if numeric and abs(value) < 1e30 else math.nan
