"""What stands in the built-in scene: solids as signed distances, some of which move."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_TURN = np.pi / 3
_RISE = 0.55
_NORMAL_STEP = 1e-3


_Move = Callable[[np.ndarray], np.ndarray]
"""Points [N, 3] to points [N, 3]."""


class Solid(NamedTuple):
    """A thing in the scene."""

    distance: Callable[[np.ndarray], np.ndarray]
    """Points [N, 3] to signed distances [N], scene units."""
    color: tuple[float, float, float]
    at_rest: _Move = lambda points: points
    """From where points of it are to where they are at time 0."""


def _sphere(center: Sequence[float], radius: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda p: _lengths(p - center) - radius


def _box(center: Sequence[float], half_size: Sequence[float], rounding: float) -> Callable:
    def distance(p: np.ndarray) -> np.ndarray:
        q = np.abs(p - center) - half_size
        inside = np.maximum(np.maximum(q[:, 0], q[:, 1]), q[:, 2])
        return _lengths(np.maximum(q, 0)) + np.minimum(inside, 0) - rounding

    return distance


def _torus(center: Sequence[float], radius: float, thickness: float) -> Callable:
    """A ring that lies flat."""

    def distance(p: np.ndarray) -> np.ndarray:
        q = p - center
        ring = np.sqrt(q[:, 0] ** 2 + q[:, 1] ** 2) - radius
        return np.hypot(ring, q[:, 2]) - thickness

    return distance


def _cone(base: Sequence[float], radius: float, height: float) -> Callable:
    """An upright cone; the distance is never too large, which is all that marching needs."""
    slope = np.array([height, radius]) / np.hypot(height, radius)

    def distance(p: np.ndarray) -> np.ndarray:
        q = p - base
        across = np.hypot(q[:, 0], q[:, 1])
        side = (across - radius) * slope[0] + q[:, 2] * slope[1]
        return np.maximum(side, -q[:, 2])

    return distance


def _unturned(center: Sequence[float], angle: float) -> _Move:
    """Back from a turn around an upright axis through a centre, by radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    to_solid = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    return lambda p: (p - center) @ to_solid.T + center


def _lowered(height: float) -> _Move:
    return lambda p: p - [0, 0, height]


def solids_at(time: float) -> tuple[Solid, ...]:
    """The ground plate, a sphere, a box, a ring and a cone, within 1.4 of the origin.

    Args:
      time: from 0 to 1, in which the sphere jumps up and comes down again, the box turns and the
        ring rises; at 0 they stand as they do in the scene that does not move.
    """
    jump = 0.45 * (1 - np.cos(2 * np.pi * time)) / 2
    rise = _RISE * time
    box = _box([0.5, 0.5, -0.05], [0.27, 0.27, 0.3], 0.06)
    unturned = _unturned([0.5, 0.5, -0.05], _TURN * time)
    # Without a turn as it always was, to the last bit.
    turned = (lambda p: box(unturned(p))) if time else box
    return (
        Solid(_box([0, 0, -0.5], [1.05, 1.05, 0.06], 0.04), (0.75, 0.72, 0.66)),
        Solid(_sphere([-0.45, 0.45, 0.0 + jump], 0.42), (0.85, 0.15, 0.12), _lowered(jump)),
        Solid(turned, (0.12, 0.4, 0.85), unturned),
        Solid(_torus([0.42, -0.45, -0.23 + rise], 0.36, 0.16), (0.95, 0.7, 0.1), _lowered(rise)),
        Solid(_cone([-0.5, -0.5, -0.41], 0.38, 0.95), (0.15, 0.65, 0.3)),
    )


SOLIDS = solids_at(0)
"""Where nothing moves."""


def signed_distance(points: np.ndarray, solids: Sequence[Solid] = SOLIDS) -> np.ndarray:
    """Distance of points [N, 3] to the nearest surface, negative inside, scene units: [N]."""
    return functools.reduce(np.minimum, [solid.distance(points) for solid in solids])


def normals_at(points: np.ndarray, solids: Sequence[Solid] = SOLIDS) -> np.ndarray:
    """Unit normals [N, 3] of the surface that is nearest to points [N, 3]."""
    normals = np.stack(
        [
            signed_distance(points + step, solids) - signed_distance(points - step, solids)
            for step in _NORMAL_STEP * np.eye(3)
        ],
        -1,
    )
    return normals / np.maximum(_lengths(normals), 1e-9)[:, np.newaxis]


def _lengths(vectors: np.ndarray) -> np.ndarray:
    """Of vectors [N, 3]: [N]; several times faster than NumPy's norm over so short an axis."""
    return np.sqrt(vectors[:, 0] ** 2 + vectors[:, 1] ** 2 + vectors[:, 2] ** 2)
