"""The axes of a scene: z is up, and what is flat lies across one of them.

Planes, lines, boxes and grids have the axes of the scene. A wall that runs along one of these is
described by few of their numbers, one that runs across the corner by many.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
from scipy import optimize, special
from scipy.spatial.transform import Rotation

from tfnerf.geometry.poses import normalized

_LEVEL = 100.0
"""How much surer it is that a camera is held level than that it looks straight ahead: squared, as
of 3 degrees against 30."""
_NO_DIRECTION = 1e-3
"""Length of a mean that tells nothing."""
_FARTHEST = 1e9
"""Beyond it numbers in files are mistakes."""
_MIN_POINTS = 300
"""Fewer say nothing about axes."""
_MOST_POINTS = 5000
_SHARE = 0.9
"""Of the points, those nearest to the middle, that count."""
_BINS = (64, 128, 256)
"""Across all points; one width alone has an optimum for each way that they fall into bins."""
_MAX_TILT = 5.0
"""Degrees around x, and around y, by which up may be another direction than cameras say."""
_TILT_GAIN = 0.1
"""Of disorder, for which it is; nats."""


def scene_axes(poses: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The rotation [4, 4] to axes that suit a scene.

    Args:
      poses: [V, 3, 4], of cameras as they were held.
      points: [P, 3], of surfaces, in the same coordinates.
    """
    level = upright(poses)
    known = points[(np.abs(points) < _FARTHEST).all(-1)]
    return squared(known @ level[:3, :3].T) @ level


def upright(poses: np.ndarray) -> np.ndarray:
    """The rotation [4, 4] that turns what is upwards for cameras [V, 3, 4] to z.

    People look down more often than they hold a camera askew: up is near to the mean of the y
    axes, and nearer still to what is at right angles to the x axes (least squares). It is the
    identity where that cannot be told.
    """
    rights, mean_up = poses[:, :, 0], poses[:, :, 1].mean(0)
    up = np.linalg.solve(np.eye(3) + _LEVEL * rights.T @ rights / len(rights), mean_up)
    if np.linalg.norm(up) < _NO_DIRECTION:
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
    if len(points) < _MIN_POINTS:
        return np.eye(4)
    counting = _nearest(points)
    counting = counting[:: -(-len(counting) // _MOST_POINTS)]
    disorder = functools.partial(_disorder, counting)
    turned = np.zeros(3)
    # By degrees over a quarter of a turn, then by tenths.
    for step, count in ((1.0, 90), (0.1, 19)):
        first = turned[0] - step * (count // 2)
        turned = min((np.array([first + step * n, 0, 0]) for n in range(count)), key=disorder)
    tilted = _with_tilt(disorder, turned)
    gain = disorder(turned) - disorder(tilted)
    return _rotation(_turn(tilted if gain > _TILT_GAIN else turned))


def _nearest(points: np.ndarray) -> np.ndarray:
    """Most of points [P, 3], a ball: the sides of a box would be flat."""
    distances = np.linalg.norm(points - np.median(points, axis=0), axis=-1)
    return points[distances <= np.quantile(distances, _SHARE)]


def _disorder(points: np.ndarray, angles: np.ndarray) -> float:
    """The sum over axes of the entropy of histograms of points [P, 3] that were turned, in nats."""
    points = points @ _turn(angles).T
    size = max(2 * np.linalg.norm(points - points.mean(0), axis=-1).max(), 1e-100)
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
