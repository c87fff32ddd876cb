"""Camera paths for videos: poses [num_poses, 3, 4] around, before and through things, in NumPy."""

from __future__ import annotations

import numpy as np

from tfnerf.geometry.poses import (
    MIN_CONVERGENCE,
    average_pose,
    look_along,
    meeting_point,
    normalized,
    relative_to,
    to_4x4,
)

ORBIT_RADIUS = 4.0
"""Of the original's circle around Blender scenes."""
_SPIRAL_TURNS = 2
_SPIRAL_Z_RATE = 0.5
_SMALL_SHARE = 0.1
"""Of the farthest depth, taken for the nearest one where rays begin at the camera."""
_MAX_GAP = np.pi / 2
"""Cameras that leave a wider gap between their azimuths do not surround the scene."""


def orbit_pose(azimuth: float, elevation: float, radius: float) -> np.ndarray:
    """A camera on a sphere around the origin that looks at it, z up.

    Args:
      azimuth: radians, from the y axis towards the x axis.
      elevation: radians above the plane z = 0, less than pi / 2 either way.
      radius: scene units.

    Returns:
      [3, 4]
    """
    horizontal = radius * np.cos(elevation)
    position = np.array(
        [horizontal * np.sin(azimuth), horizontal * np.cos(azimuth), radius * np.sin(elevation)]
    )
    return look_along(position, np.array([0.0, 0.0, 1.0]), position)


def orbit_path(
    num_poses: int = 40, elevation: float = np.pi / 6, radius: float = ORBIT_RADIUS
) -> np.ndarray:
    """Once around the origin, [num_poses, 3, 4]; the defaults are the original's for Blender."""
    azimuths = np.linspace(-np.pi, np.pi, num_poses, endpoint=False)
    return np.stack([orbit_pose(azimuth, elevation, radius) for azimuth in azimuths])


def orbit_around(poses: np.ndarray, num_poses: int) -> np.ndarray:
    """A path around what cameras [V, 3, 4] look at, at their mean distance and height.

    Once around if they surround it; otherwise to and fro where they are, because nobody has seen
    the other side.

    Returns:
      [num_poses, 3, 4]

    Raises:
      ValueError: the cameras look the same way, or their directions cancel out.
    """
    center, convergence = meeting_point(poses)
    if convergence < MIN_CONVERGENCE:
        raise ValueError("the cameras look the same way, so there is nothing to go around")
    up = normalized(poses[:, :, 1].mean(0))
    offsets = poses[:, :, 3] - center
    across = offsets - (offsets @ up)[:, np.newaxis] * up
    # Azimuths count from the camera that is farthest from the axis: a direction there always is.
    frame = look_along(up, across[np.argmax(np.linalg.norm(across, axis=-1))], center)
    positions = relative_to(frame, poses)[:, :, 3]
    distances = np.linalg.norm(positions, axis=-1)
    elevation = float(np.arcsin(positions[:, 2] / distances).mean())
    azimuths = _swept_azimuths(np.arctan2(positions[:, 0], positions[:, 1]), num_poses)
    path = [orbit_pose(azimuth, elevation, distances.mean()) for azimuth in azimuths]
    return (to_4x4(frame) @ to_4x4(np.stack(path)))[:, :3]


def _swept_azimuths(azimuths: np.ndarray, num_poses: int) -> np.ndarray:
    """Azimuths [num_poses] that go around, or to and fro where those of cameras [V] leave a gap."""
    ends = np.sort(azimuths)
    gaps = np.diff(ends, append=ends[0] + 2 * np.pi)
    widest = int(np.argmax(gaps))
    phases = np.linspace(0, 2 * np.pi, num_poses, endpoint=False)
    if gaps[widest] < _MAX_GAP:
        return phases
    swept = 2 * np.pi - gaps[widest]
    return ends[(widest + 1) % len(ends)] + swept / 2 * (1 + np.sin(phases))


def interpolated(keyframes: np.ndarray, num_poses: int) -> np.ndarray:
    """A smooth path through poses, the first and the last included.

    Positions follow a cubic spline and rotations one of angular velocity, both through all
    keyframes, with time in proportion to the distance between positions.

    Args:
      keyframes: [K, 3, 4], at least two.
      num_poses: of the path, at least two.

    Returns:
      [num_poses, 3, 4]
    """
    from scipy.interpolate import CubicSpline
    from scipy.spatial.transform import Rotation, RotationSpline

    times, at = _times(keyframes, num_poses)
    positions = CubicSpline(times, keyframes[:, :, 3])(at)
    rotations = RotationSpline(times, Rotation.from_matrix(keyframes[:, :, :3]))(at)
    return np.concatenate([rotations.as_matrix(), positions[:, :, np.newaxis]], -1)


def interpolated_along(keyframes: np.ndarray, values: np.ndarray, num_poses: int) -> np.ndarray:
    """Values [K, ...] of keyframes on the path that `interpolated` makes, [num_poses, ...].

    They never overshoot, as a spline's would.
    """
    from scipy.interpolate import PchipInterpolator

    times, at = _times(keyframes, num_poses)
    along: np.ndarray = PchipInterpolator(times, values)(at)
    return along


def _times(keyframes: np.ndarray, num_poses: int) -> tuple[np.ndarray, np.ndarray]:
    """When a path comes by keyframes [K], and when its poses [num_poses] are."""
    steps = np.linalg.norm(np.diff(keyframes[:, :, 3], axis=0), axis=-1)
    # Where the camera only turns, time goes on all the same.
    steps = np.maximum(steps, 0.1 * steps.mean() if steps.any() else 1.0)
    times = np.concatenate([[0.0], np.cumsum(steps)])
    return times, np.linspace(0, times[-1], num_poses)


def circle_path(poses: np.ndarray, num_poses: int = 120) -> np.ndarray:
    """A circle around the origin at the height of cameras [V, 3, 4] on the unit sphere.

    As in the original the first and the last pose are the same.
    """
    height = poses[:, 2, 3].mean()
    radius = np.sqrt(np.mean(np.sum(poses[:, :, 3] ** 2, -1)) - height**2)
    path = []
    for angle in np.linspace(0, 2 * np.pi, num_poses):
        position = np.array([radius * np.cos(angle), radius * np.sin(angle), height])
        path.append(look_along(position, np.array([0.0, 0.0, 1.0]), position))
    return np.stack(path)


def spiral_path(
    poses: np.ndarray,
    nearest: float,
    farthest: float,
    num_poses: int = 120,
    *,
    flat: bool = False,
) -> np.ndarray:
    """A spiral before a forward-facing scene that keeps looking at its focus.

    Args:
      poses: [V, 3, 4], recentred.
      nearest: smallest depth in the scene, scene units; 0: not known.
      farthest: largest depth.
      num_poses: of the path.
      flat: one turn in a plane, a little nearer, without moving back and forth.

    Returns:
      [num_poses, 3, 4]
    """
    close, distant = 0.9 * (nearest or _SMALL_SHARE * farthest), 5 * farthest
    focus = 1 / (0.25 / close + 0.75 / distant)
    radii = np.percentile(np.abs(poses[:, :, 3]), 90, axis=0)
    center = average_pose(poses)
    turns = _SPIRAL_TURNS
    if flat:
        center[:, 3] -= 0.1 * close * center[:, 2]
        radii[2] = 0
        turns = 1
    up = poses[:, :, 1].sum(0)
    target = center @ [0, 0, -focus, 1]
    path = []
    for angle in np.linspace(0, 2 * np.pi * turns, num_poses, endpoint=False):
        offset = radii * [np.cos(angle), -np.sin(angle), -np.sin(angle * _SPIRAL_Z_RATE)]
        position = center @ [*offset, 1]
        path.append(look_along(position - target, up, position))
    return np.stack(path)
