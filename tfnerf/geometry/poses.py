"""Poses: looking at things, averaging, other coordinates, checking what files hold.

A pose is a camera_to_world matrix [3, 4]: columns right, up, back and position. All in NumPy.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfnerf.errors import UserError

_MIN_LENGTH = 1e-9
MIN_CONVERGENCE = 0.03
"""Optical axes nearer to parallel than this (`meeting_point`) meet nowhere in particular."""


def look_along(back: np.ndarray, up: np.ndarray, position: np.ndarray) -> np.ndarray:
    """The pose of a camera that looks along -back.

    Args:
      back: [3], of any length.
      up: [3], roughly upwards, not parallel to `back`.
      position: [3].

    Returns:
      [3, 4]
    """
    back = normalized(back)
    right = normalized(np.cross(up, back))
    return np.stack([right, np.cross(back, right), back, position], -1)


def average_pose(poses: np.ndarray) -> np.ndarray:
    """Mean position, mean viewing direction, mean up: [V, 3, 4] to [3, 4]."""
    return look_along(poses[:, :, 2].sum(0), poses[:, :, 1].sum(0), poses[:, :, 3].mean(0))


def relative_to(frame: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Poses [V, 3, 4] seen from the camera of the pose `frame` [3, 4]."""
    return (np.linalg.inv(to_4x4(frame)) @ to_4x4(poses))[:, :3]


def to_4x4(poses: np.ndarray) -> np.ndarray:
    """[..., 3, 4] to [..., 4, 4]."""
    last = np.broadcast_to([0.0, 0.0, 0.0, 1.0], [*poses.shape[:-2], 1, 4])
    return np.concatenate([poses[..., :3, :4], last], -2)


def scale_of(similarity: np.ndarray) -> float:
    """By how much a similarity [4, 4] makes things longer."""
    return float(np.cbrt(np.linalg.det(similarity[:3, :3])))


def transformed(similarity: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Poses [V, 3, 4] in other coordinates.

    Args:
      similarity: [4, 4], a rotation, a translation and one scale.
      poses: [V, 3, 4].
    """
    moved = (similarity @ to_4x4(poses))[:, :3]
    return np.concatenate([moved[:, :, :3] / scale_of(similarity), moved[:, :, 3:]], -1)


def scaled(poses: np.ndarray, scale: float) -> np.ndarray:
    """Poses [V, 3, 4] in units of 1 / scale."""
    return np.concatenate([poses[:, :, :3], poses[:, :, 3:] * scale], -1)


def meeting_point(poses: np.ndarray) -> tuple[np.ndarray, float]:
    """The point nearest to all optical axes in the least-squares sense.

    Args:
      poses: [V, 3, 4].

    Returns:
      The point [3], and how well the axes determine it: 0 for parallel axes, 2/3 for axes in all
      directions.
    """
    axes = poses[:, :, 2]
    across = np.eye(3) - axes[:, :, np.newaxis] * axes[:, np.newaxis, :]  # [V, 3, 3]
    mean = across.mean(0)
    point = np.linalg.pinv(mean) @ (across @ poses[:, :, 3:]).mean(0)[:, 0]
    return point, float(np.linalg.eigvalsh(mean)[0])


def inward_frame(poses: np.ndarray) -> np.ndarray:
    """A frame [3, 4] at the meeting point of cameras that look inwards, z towards their side."""
    point, _ = meeting_point(poses)
    up = normalized((poses[:, :, 3] - point).mean(0))
    # Any direction that is not up will do; this one is the original's.
    right = normalized(np.cross([0.1, 0.2, 0.3], up))
    return np.stack([right, np.cross(up, right), up, point], -1)


def check_pose(matrix: Any, where: str) -> np.ndarray:
    """A camera_to_world matrix as [3, 4] float64, or UserError if it cannot be one."""
    try:
        pose = np.asarray(matrix, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{where}: the pose is not a matrix of numbers") from None
    if pose.shape not in ((4, 4), (3, 4)):
        raise UserError(f"{where}: the pose has shape {list(pose.shape)}, expected [4, 4]")
    with np.errstate(over="ignore"):
        finite = np.isfinite(pose.astype(np.float32)).all()
    if not finite:
        raise UserError(f"{where}: the pose has numbers that are not finite in 32 bits")
    if abs(np.linalg.det(pose[:3, :3])) < 1e-6:
        raise UserError(f"{where}: the rotation of the pose is singular")
    return pose[:3]


def normalized(vector: np.ndarray) -> np.ndarray:
    """A vector [3] of length 1; ValueError if there is no telling where it points."""
    length = np.linalg.norm(vector)
    if not length > _MIN_LENGTH:
        raise ValueError("the directions of the cameras cancel out")
    return np.asarray(vector) / length
