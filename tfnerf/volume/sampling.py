"""Where along a ray to look: stratified and inverse transform sampling (sections 4 and 5.2).

The random numbers are arguments, so that callers decide what is random. N is the number of rays.
"""

from __future__ import annotations

import tensorflow as tf

_EMPTY_WEIGHT = 1e-5
"""Added to each weight so that an empty ray is sampled evenly (the released code's value)."""


def stratified_depths(
    near: tf.Tensor | float,
    far: tf.Tensor | float,
    num_rays: int | tf.Tensor,
    num_samples: int,
    *,
    lindisp: bool = False,
    uniforms: tf.Tensor | None = None,
) -> tf.Tensor:
    """Depths from near to far, one in each interval (equation 2).

    As in the released code the intervals reach from midpoint to midpoint, so that the first and the
    last are half as wide as the others.

    Args:
      near: scalar or [N, 1], depth of the first sample.
      far: the same for the last.
      num_rays: N.
      num_samples: S, at least 2.
      lindisp: space evenly in 1 / depth instead of depth.
      uniforms: [N, S] in [0, 1), where in its interval each sample lies; None: evenly spaced.

    Returns:
      [N, S], increasing.
    """
    t = tf.linspace(0.0, 1.0, num_samples)[tf.newaxis, :]
    depths = 1 / (1 / near * (1 - t) + 1 / far * t) if lindisp else near * (1 - t) + far * t
    depths = tf.broadcast_to(depths, [num_rays, num_samples])
    if uniforms is None:
        return depths
    middles = midpoints(depths)
    lower = tf.concat([depths[:, :1], middles], -1)
    upper = tf.concat([middles, depths[:, -1:]], -1)
    return lower + (upper - lower) * uniforms


def midpoints(depths: tf.Tensor) -> tf.Tensor:
    """[N, S] to [N, S - 1]."""
    return 0.5 * (depths[:, 1:] + depths[:, :-1])


def inverse_transform_samples(
    edges: tf.Tensor, weights: tf.Tensor, uniforms: tf.Tensor
) -> tf.Tensor:
    """Samples of the piecewise constant density that the weights describe (section 5.2).

    Args:
      edges: [N, B + 1], increasing, the borders of the bins.
      weights: [N, B], at least 0, need not sum to one.
      uniforms: [N, S] in [0, 1].

    Returns:
      [N, S], in the order of `uniforms`.
    """
    weights = weights + _EMPTY_WEIGHT
    density = weights / tf.reduce_sum(weights, -1, keepdims=True)
    cdf = tf.cumsum(density, -1)
    cdf = tf.concat([tf.zeros_like(cdf[:, :1]), cdf], -1)  # [N, B + 1]
    above = tf.searchsorted(cdf, uniforms, side="right")
    last = tf.shape(cdf)[-1] - 1
    below = tf.maximum(above - 1, 0)
    above = tf.minimum(above, last)
    cdf_below = tf.gather(cdf, below, batch_dims=1)
    probability = tf.gather(cdf, above, batch_dims=1) - cdf_below
    # A bin that is nearly empty would divide by rounding errors.
    probability = tf.where(probability < _EMPTY_WEIGHT, 1.0, probability)
    edge_below = tf.gather(edges, below, batch_dims=1)
    edge_above = tf.gather(edges, above, batch_dims=1)
    return edge_below + (uniforms - cdf_below) / probability * (edge_above - edge_below)


def resample_depths(
    depths: tf.Tensor,
    weights: tf.Tensor,
    num_samples: int,
    *,
    uniforms: tf.Tensor | None = None,
) -> tf.Tensor:
    """More depths where the weights of a first pass are large; no gradient flows through them.

    Args:
      depths: [N, S], increasing.
      weights: [N, S], of the samples at these depths.
      num_samples: F.
      uniforms: [N, F] in [0, 1); None: evenly spaced from 0 to 1.

    Returns:
      [N, F], not sorted if `uniforms` is not.
    """
    if uniforms is None:
        spaced = tf.linspace(0.0, 1.0, num_samples)
        uniforms = tf.broadcast_to(spaced, [tf.shape(depths)[0], num_samples])
    samples = inverse_transform_samples(midpoints(depths), weights[:, 1:-1], uniforms)
    return tf.stop_gradient(samples)


def equal_shares(weights: tf.Tensor, num_shares: int) -> tf.Tensor:
    """Borders of intervals that all have the same share of the weight (section 5.2).

    Args:
      weights: [N, B], above 0, of bins of equal width from 0 to 1, evenly spread over each.
      num_shares: K, at least 1.

    Returns:
      [N, K + 1], increasing, from 0 to 1.
    """
    num_bins = tf.shape(weights)[1]
    cdf = tf.cumsum(weights / tf.reduce_sum(weights, -1, keepdims=True), -1)
    inner = tf.range(1, num_shares, dtype=tf.float32) / num_shares
    inner = tf.broadcast_to(inner, [tf.shape(weights)[0], num_shares - 1])
    bins = tf.minimum(tf.searchsorted(cdf, inner, side="right"), num_bins - 1)
    above = tf.gather(cdf, bins, batch_dims=1)
    weight = tf.gather(weights, bins, batch_dims=1) / tf.reduce_sum(weights, -1, keepdims=True)
    place = tf.cast(bins, tf.float32) + tf.clip_by_value((inner - above) / weight + 1, 0.0, 1.0)
    inside = place / tf.cast(num_bins, tf.float32)
    zeros = tf.zeros_like(weights[:, :1])
    return tf.concat([zeros, inside, 1 + zeros], -1)
