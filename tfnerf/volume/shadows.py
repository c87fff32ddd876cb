"""How much light reaches points, as a hint for colours: a grid of densities throws shadows."""

from __future__ import annotations

import tensorflow as tf

from tfnerf.fields.density_grid import DensityGrid
from tfnerf.fields.field import Conditions, condition_of
from tfnerf.geometry.cameras import Rays

_NUM_PROBES = 64
"""Places on the way to the light that the grid is looked up at."""
_NEAREST_CELLS = 6.0
"""Cells around a point that throw no shadow on it: its own surface fills them."""


def lit_by(grid: DensityGrid, points: tf.Tensor, conditions: Conditions | None) -> Conditions:
    """Conditions of points [M, 3] with the light as it is from there.

    One more ray a point, through the grid alone, tells whether something is before the light
    (the shadow hint of NRHints: Zeng et al. 2023).

    Args:
      grid: of what there is.
      points: [M, 3], in the coordinates of the grid.
      conditions: of each point; "light" [M, 3] is where the light is.

    Returns:
      The same, but for "light" [M, 3], which is now the way to it from each point, and "lit" [M],
      the share of it that arrives.
    """
    to_light = condition_of(conditions, "light") - points
    distance = tf.norm(to_light, axis=-1, keepdims=True)
    direction = tf.math.l2_normalize(to_light, -1)
    rays = Rays(points, direction, direction, conditions)
    nearest = _NEAREST_CELLS * tf.reduce_max(grid.box.size) / grid.resolution
    begin, end = grid.span(rays, nearest, distance)
    length = tf.maximum(end - begin, 0.0) / _NUM_PROBES
    depths = begin + length * (tf.range(_NUM_PROBES, dtype=tf.float32) + 0.5)
    densities, _ = grid.look_along(rays, depths)
    lit = tf.exp(-tf.reduce_sum(densities, -1) * length[:, 0])
    return {**(conditions or {}), "light": to_light, "lit": tf.stop_gradient(lit)}
