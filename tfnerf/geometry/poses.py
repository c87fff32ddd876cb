"""Poses: looking at things, averaging, other coordinates, checking what files hold.

A pose is a camera_to_world matrix [3, 4]: columns right, up, back and position. All in NumPy.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfnerf.errors import UserError

_log = logging.getLogger(__name__)
_MIN_LENGTH = 1e-9
_ROTATION_WITHIN = 0.02
"""How far numbers that were rounded to two digits may be from a rotation."""
_LENGTH_WITHIN = 0.01
"""How far the length of axes may be from 1 for the same reason."""
_IN_VIEW = 0.5
"""Cosine of the angle to its optical axis within which a camera looks at a point."""
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


def looking_at(poses: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Which cameras [V] of poses [V, 3, 4] a point [3] is roughly in front of."""
    offsets = point - poses[:, :, 3]
    ahead = (offsets * -poses[:, :, 2]).sum(-1)
    looking: np.ndarray = ahead > _IN_VIEW * np.linalg.norm(offsets, axis=-1)
    return looking


def check_poses(matrices: Sequence[Any] | np.ndarray, where: Sequence[str]) -> np.ndarray:
    """camera_to_world matrices as files hold them.

    Where the axes of a camera are not of length 1, as in files of scaled cameras, their scale is
    taken away with a warning: it says nothing of where the camera is and looks.

    Args:
      matrices: V of [4, 4] or [3, 4].
      where: V texts that begin messages.

    Returns:
      [V, 3, 4] float64.

    Raises:
      UserError: one cannot be a pose, or is mirrored or skewed.
    """
    poses = np.stack([_check_pose(matrix, name) for matrix, name in zip(matrices, where)])
    lengths = np.linalg.norm(poses[:, :, :3], axis=1).mean(-1)
    scaled_ones = np.flatnonzero(np.abs(lengths - 1) > _LENGTH_WITHIN)
    if len(scaled_ones):
        first = scaled_ones[0]
        _log.warning(
            "%s: the axes of the pose have length %.3g, expected 1: taken as a rotation, as those "
            "of %d of %d poses",
            where[first],
            lengths[first],
            len(scaled_ones),
            len(poses),
        )
        poses[scaled_ones, :, :3] /= lengths[scaled_ones, np.newaxis, np.newaxis]
    return poses


def _check_pose(matrix: Any, where: str) -> np.ndarray:
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
    axes = pose[:3, :3]
    length = np.linalg.norm(axes, axis=0).mean()
    if length < _MIN_LENGTH or abs(np.linalg.det(axes / length)) < 1e-6:
        raise UserError(f"{where}: the rotation of the pose is singular")
    axes = axes / length
    if not np.allclose(axes.T @ axes, np.eye(3), atol=_ROTATION_WITHIN):
        raise UserError(
            f"{where}: the pose is skewed: its axes are not at right angles and of one length"
        )
    if np.linalg.det(axes) < 0:
        raise UserError(f"{where}: the pose is mirrored, expected right, up and back as its axes")
    return pose[:3]


def normalized(vector: np.ndarray) -> np.ndarray:
    """A vector [3] of length 1; ValueError if there is no telling where it points."""
    length = np.linalg.norm(vector)
    if not length > _MIN_LENGTH:
        raise ValueError("the directions of the cameras cancel out")
    return np.asarray(vector) / length
