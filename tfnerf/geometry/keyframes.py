"""Keyframes of a camera path, read from a JSON file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import read_json
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.paths import interpolated, interpolated_along
from tfnerf.geometry.poses import check_poses


class Keyframes(NamedTuple):
    """Cameras that a path goes through."""

    poses: np.ndarray
    """camera_to_world of each, [K, 3, 4], in the world coordinates of the scene's files; the axes
    of a camera are right, up and back."""
    focal: np.ndarray | None = None
    """[K], focal lengths as parts of the width of the image; None: the file does not say."""

    def path(self, num_poses: int) -> Keyframes:
        """A smooth way through all of them, poses and focal lengths."""
        focal = self.focal
        if focal is not None:
            focal = interpolated_along(self.poses, focal, num_poses)
        return Keyframes(interpolated(self.poses, num_poses), focal)

    def seen_by(self, cameras: Cameras) -> Cameras:
        """Cameras at these places with the focal lengths of the file, if it says any."""
        if self.focal is None:
            return cameras
        focal = cameras.width * np.stack([self.focal, self.focal], -1)
        return cameras.with_focal(focal.astype(np.float32))


def read_keyframes(path: Path, at_least: int = 2) -> Keyframes:
    """Reads {"frames": [{"transform_matrix": [[...], ...]}, ...]}, as in a transforms.json.

    Fields of view are those of `camera_angle_x`, or `fl_x` and `w`, in the file or in each frame.

    Args:
      path: the file.
      at_least: how many there must be; there is a way between two.

    Raises:
      UserError: there are fewer, a matrix is no pose, or a field of view is none.
    """
    content = read_json(path)
    frames = content.get("frames")
    if not isinstance(frames, list) or len(frames) < at_least:
        raise UserError(f'{path}: expected a list named "frames", at least {at_least} long')
    where = [f"{path}: frame {number}" for number in range(len(frames))]
    poses = check_poses([_matrix_of(frame, name) for frame, name in zip(frames, where)], where)
    focal = [_focal_of({**content, **frame}, name) for frame, name in zip(frames, where)]
    saying = [value for value in focal if value is not None]
    if saying and len(saying) < len(frames):
        raise UserError(
            f"{where[focal.index(None)]}: has no camera_angle_x, expected one as in other frames"
        )
    return Keyframes(poses, np.array(saying) if saying else None)


def _matrix_of(frame: object, where: str) -> object:
    if not isinstance(frame, dict) or "transform_matrix" not in frame:
        raise UserError(f'{where}: expected an object with a "transform_matrix"')
    return frame["transform_matrix"]


def _focal_of(values: dict[str, Any], where: str) -> float | None:
    """A focal length as part of the width; None if nothing is said of it."""
    if "camera_angle_x" in values:
        angle = _number(values["camera_angle_x"])
        if not 0 < angle < math.pi:
            raise UserError(
                f"{where}: camera_angle_x is {values['camera_angle_x']!r:.40}, expected radians "
                "from 0 to pi"
            )
        return 0.5 / math.tan(0.5 * angle)
    if "fl_x" in values and "w" in values:
        pixels, width = _number(values["fl_x"]), _number(values["w"])
        if not (pixels > 0 and width > 0):
            raise UserError(
                f"{where}: fl_x and w are {values['fl_x']!r:.40} and {values['w']!r:.40}, expected "
                "positive numbers"
            )
        return pixels / width
    return None


def _number(value: Any) -> float:
    """NaN for what is no number."""
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if numeric and abs(value) < 1e30 else math.nan
