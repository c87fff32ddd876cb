"""From densities and colours along a ray to one colour (section 4, equation 3)."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

_LAST_INTERVAL = 1e10
"""Length of the interval behind the last sample: whatever density is there is opaque."""


class Composite(NamedTuple):
    """What a ray sees. N rays, S samples."""

    rgb: tf.Tensor
    """[N, 3]"""
    depth: tf.Tensor
    """[N], sum of weight times depth: 0 where there is nothing."""
    disparity: tf.Tensor
    """[N], 1 / (depth / opacity): 0 where there is nothing."""
    opacity: tf.Tensor
    """[N], sum of the weights, from 0 to 1."""
    weights: tf.Tensor
    """[N, S], what each sample contributes."""


def composite(
    colors: tf.Tensor,
    densities: tf.Tensor,
    depths: tf.Tensor,
    lengths: tf.Tensor,
    *,
    white_background: bool,
) -> Composite:
    """Numerical quadrature of the volume rendering integral (equation 3).

    Unlike the released code, the disparity of an empty ray is 0 and not NaN.

    Args:
      colors: [N, S, 3].
      densities: [N, S], at least 0, per scene unit.
      depths: [N, S], increasing.
      lengths: [N], length of the ray's direction, scene units per unit of depth.
      white_background: what is not opaque is white, else black.
    """
    weights = sample_weights(densities, depths, lengths)
    opacity = tf.reduce_sum(weights, -1)
    rgb = tf.reduce_sum(weights[..., tf.newaxis] * colors, -2)
    if white_background:
        rgb += 1 - opacity[:, tf.newaxis]
    depth = tf.reduce_sum(weights * depths, -1)
    expected_depth = tf.maximum(1e-10, tf.math.divide_no_nan(depth, opacity))
    disparity = tf.where(opacity > 0, 1 / expected_depth, 0.0)
    return Composite(rgb, depth, disparity, opacity, weights)


def sample_weights(densities: tf.Tensor, depths: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """What each sample contributes to the colour of its ray: transmittance times alpha.

    Args:
      densities: [N, S], at least 0.
      depths: [N, S], increasing.
      lengths: [N].

    Returns:
      [N, S], at least 0, with a sum of at most 1 but for rounding.
    """
    last = tf.fill([tf.shape(depths)[0], 1], _LAST_INTERVAL)
    intervals = tf.concat([depths[:, 1:] - depths[:, :-1], last], -1) * lengths[:, tf.newaxis]
    alpha = 1 - tf.exp(-densities * intervals)
    # 1e-10 keeps the gradient of the product finite behind an opaque sample.
    transmittance = tf.math.cumprod(1 - alpha + 1e-10, -1, exclusive=True)
    return alpha * transmittance
