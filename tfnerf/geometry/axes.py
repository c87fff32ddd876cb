"""The axes of a scene: z is up, and what is flat lies across one of them.

Planes, lines, boxes and grids have the axes of the scene. A wall that runs along one of these is
described by few of their numbers, one that runs across the corner by many.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import optimize, special
from scipy.spatial.transform import Rotation

from tfnerf.geometry.poses import normalized

_TURNED = 0.17
"""By how much (a sine, root mean square) the x axes of cameras turn towards a direction that is
horizontal; below it is taken for cameras that were not held level."""
_MIN_POINTS = 100
"""Fewer say nothing about axes."""
_MOST_POINTS = 5000
_OUTLIERS = 2.0
"""Percent of the points at each end of each axis that do not count."""
_FARTHEST = 1e9
"""Beyond it numbers in files are mistakes."""
_BINS = (64, 128, 256)
"""Across all points; one width alone has an optimum for each way that they fall into bins."""
_MAX_TILT = 5.0
"""Degrees by which up may be another direction than cameras say."""
_TILT_GAIN = 0.1
"""Of disorder, for which it is; nats."""


def scene_axes(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The rotation [4, 4] to axes that suit a scene.

    Args:
      poses: [V, 3, 4], of cameras as they were held.
      points: [P, 3], of surfaces, in the same coordinates.
    """
    level = upright(poses)
    return squared(points @ level[:3, :3].T) @ level


def upright(poses: np.ndarray) -> np.ndarray:
    """The rotation [4, 4] that turns what is upwards for cameras [V, 3, 4] to z.

    People look down, but seldom hold a camera askew: up is at right angles to the x axes of the
    cameras, as far as these tell, and apart from that it is the mean of the y axes. It is the
    identity where that cannot be told.
    """
    rights = poses[:, :, 0]
    turned, directions = np.linalg.eigh(rights.T @ rights / len(rights))
    up = poses[:, :, 1].mean(0)
    free = directions[:, turned < _TURNED**2]
    if free.size:
        up = free @ (free.T @ up)
    if np.linalg.norm(up) < 0.1:
        return np.eye(4)
    up = normalized(up)
    right = normalized(np.cross(up, np.eye(3)[np.argmin(np.abs(up))]))
    return _rotation(np.stack([right, np.cross(up, right), up]))


def squared(points: np.ndarray) -> np.ndarray:
    """The rotation [4, 4] after which what is flat in a scene lies across its axes.

    It turns around z, so that points pile up in as few places along x, y and z as they can: their
    histograms have the least entropy (Gallup et al. 2007, section 3). If that makes it much less
    still, it also tilts z a little.

    Args:
      points: [P, 3], of surfaces, z up. Where they are too few it is the identity.
    """
    counting = _without_outliers(points)
    if len(counting) < _MIN_POINTS or not np.ptp(counting, axis=0).any():
        return np.eye(4)
    counting = counting[:: -(-len(counting) // _MOST_POINTS)]

    def disorder(angles: np.ndarray) -> float:
        return _disorder(counting @ _turn(angles).T)

    turned = min((np.array([angle, 0.0, 0.0]) for angle in np.arange(0, 90, 0.5)), key=disorder)
    tilted = _with_tilt(disorder, turned)
    gain = disorder(turned) - disorder(tilted)
    return _rotation(_turn(tilted if gain > _TILT_GAIN else turned))


def _without_outliers(points: np.ndarray) -> np.ndarray:
    """Those of points [P, 3] that are not among the farthest along any axis."""
    points = points[(np.abs(points) < _FARTHEST).all(-1)]
    if not len(points):
        return points
    low, high = np.percentile(points, [_OUTLIERS, 100 - _OUTLIERS], axis=0)
    inside: np.ndarray = points[((points >= low) & (points <= high)).all(-1)]
    return inside


def _disorder(points: np.ndarray) -> float:
    """The sum over axes of the entropy of histograms of points [P, 3], in nats."""
    size = 2 * np.linalg.norm(points - points.mean(0), axis=-1).max()
    entropies = []
    for num_bins in _BINS:
        for along in points.T:
            counts = np.bincount(((along - along.min()) / size * num_bins).astype(int))
            entropies.append(special.entr(counts / len(points)).sum())
    return float(np.sum(entropies)) / len(_BINS)


def _with_tilt(disorder: Callable[[np.ndarray], float], turned: np.ndarray) -> np.ndarray:
    """Angles [3] around z, x and y of the least disorder near `turned`."""
    near = np.diag([1.0, *[_MAX_TILT / 2] * 2])
    found = optimize.minimize(
        disorder,
        turned,
        method="Nelder-Mead",
        bounds=[(None, None), *[(-_MAX_TILT, _MAX_TILT)] * 2],
        options={"initial_simplex": np.vstack([turned, turned + near])},
    )
    angles: np.ndarray = found.x
    return angles


def _turn(angles: np.ndarray) -> np.ndarray:
    """The rotation [3, 3] by degrees around z, then x, then y."""
    matrix: np.ndarray = Rotation.from_euler("zxy", angles, degrees=True).as_matrix()
    return matrix


def _rotation(matrix: np.ndarray) -> np.ndarray:
    """[3, 3] as [4, 4]."""
    rotation = np.eye(4)
    rotation[:3, :3] = matrix
    return rotation
