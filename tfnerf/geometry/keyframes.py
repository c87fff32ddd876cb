"""Keyframes of a camera path, read from a JSON file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import read_json
from tfnerf.geometry.poses import check_poses


def read_keyframes(path: Path, at_least: int = 2) -> np.ndarray:
    """Reads {"frames": [{"transform_matrix": [[...], ...]}, ...]}, as in a transforms.json.

    Args:
      path: the file.
      at_least: how many there must be; there is a way between two.

    Returns:
      camera_to_world of each frame, [K, 3, 4], in the world coordinates of the scene's files; the
      axes of a camera are right, up and back.

    Raises:
      UserError: there are fewer, or a matrix is no pose.
    """
    frames = read_json(path).get("frames")
    if not isinstance(frames, list) or len(frames) < at_least:
        raise UserError(f'{path}: expected a list named "frames", at least {at_least} long')
    where = [f"{path}: frame {number}" for number in range(len(frames))]
    return check_poses([_matrix_of(frame, name) for frame, name in zip(frames, where)], where)


def _matrix_of(frame: object, where: str) -> object:
    if not isinstance(frame, dict) or "transform_matrix" not in frame:
        raise UserError(f'{where}: expected an object with a "transform_matrix"')
    return frame["transform_matrix"]
