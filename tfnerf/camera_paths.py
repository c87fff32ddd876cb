"""Poses: looking at things, averaging, normalising captures, paths for videos.

A pose is a camera_to_world matrix [3, 4]: columns right, up, back and position. All in NumPy.
"""

from __future__ import annotations

import numpy as np

_SPIRAL_TURNS = 2
_SPIRAL_Z_RATE = 0.5
_LEAST_LENGTH = 1e-9
_WIDEST_GAP = np.pi / 2
"""Cameras that leave a wider gap between their azimuths do not surround the scene."""
LEAST_CONVERGENCE = 0.03
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
    back = _normalized(back)
    right = _normalized(np.cross(up, back))
    return np.stack([right, np.cross(back, right), back, position], -1)


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
    num_poses: int = 40, elevation: float = np.pi / 6, radius: float = 4.0
) -> np.ndarray:
    """Once around the origin, [num_poses, 3, 4]; the defaults are the original's for Blender."""
    azimuths = np.linspace(-np.pi, np.pi, num_poses, endpoint=False)
    return np.stack([orbit_pose(azimuth, elevation, radius) for azimuth in azimuths])


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
    up = _normalized((poses[:, :, 3] - point).mean(0))
    # Any direction that is not up will do; this one is the original's.
    right = _normalized(np.cross([0.1, 0.2, 0.3], up))
    return np.stack([right, np.cross(up, right), up, point], -1)


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
    if convergence < LEAST_CONVERGENCE:
        raise ValueError("the cameras look the same way, so there is nothing to go around")
    up = _normalized(poses[:, :, 1].mean(0))
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
    if gaps[widest] < _WIDEST_GAP:
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

    steps = np.linalg.norm(np.diff(keyframes[:, :, 3], axis=0), axis=-1)
    # Where the camera only turns, time goes on all the same.
    steps = np.maximum(steps, 0.1 * steps.mean() if steps.any() else 1.0)
    times = np.concatenate([[0.0], np.cumsum(steps)])
    at = np.linspace(0, times[-1], num_poses)
    positions = CubicSpline(times, keyframes[:, :, 3])(at)
    rotations = RotationSpline(times, Rotation.from_matrix(keyframes[:, :, :3]))(at)
    return np.concatenate([rotations.as_matrix(), positions[:, :, np.newaxis]], -1)


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
      nearest: smallest depth in the scene, scene units.
      farthest: largest depth.
      num_poses: of the path.
      flat: one turn in a plane, a little nearer, without moving back and forth.

    Returns:
      [num_poses, 3, 4]
    """
    close, distant = 0.9 * nearest, 5 * farthest
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


def _normalized(vector: np.ndarray) -> np.ndarray:
    """Of length 1; ValueError if there is no telling where it points."""
    length = np.linalg.norm(vector)
    if not length > _LEAST_LENGTH:
        raise ValueError("the directions of the cameras cancel out")
    return np.asarray(vector) / length
