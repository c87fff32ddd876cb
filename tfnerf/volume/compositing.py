"""From densities and colours along a ray to one colour (section 4, equation 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

_BEFORE_SURFACE = 0.25
_NO_OPACITY = 1e-5
"""Below it the mean of features is not told from noise."""


class Composite(NamedTuple):
    """What a ray sees. N rays, S samples."""

    rgb: tf.Tensor
    """[N, 3], before a black background."""
    depth: tf.Tensor
    """[N], sum of weight times depth: 0 where there is nothing."""
    disparity: tf.Tensor
    """[N], 1 / (depth / opacity): 0 where there is nothing."""
    opacity: tf.Tensor
    """[N], sum of the weights, from 0 to 1."""
    weights: tf.Tensor
    """[N, S], what each sample contributes."""

    def on_white(self) -> Composite:
        """The same with white instead of black where it is not opaque."""
        return self._replace(rgb=self.rgb + (1 - self.opacity[:, tf.newaxis]))


def composite(
    colors: tf.Tensor, densities: tf.Tensor, depths: tf.Tensor, lengths: tf.Tensor
) -> Composite:
    """Numerical quadrature of the volume rendering integral (equation 3), before black.

    Unlike the released code, the disparity of an empty ray is 0 and not NaN.

    Args:
      colors: [N, S, 3].
      densities: [N, S], at least 0, per scene unit.
      depths: [N, S], increasing.
      lengths: [N, S], of the interval that each sample stands for, scene units.
    """
    weights = sample_weights(densities, lengths)
    return _composite(tf.reduce_sum(weights[..., tf.newaxis] * colors, -2), weights, depths)


def composite_in_parts(
    features: tf.Tensor,
    densities: tf.Tensor,
    depths: tf.Tensor,
    lengths: tf.Tensor,
    num_parts: int,
    color: Callable[[tf.Tensor], tf.Tensor],
) -> Composite:
    """As `composite`, with features that become colours only when they are composited.

    The samples of each ray are cut into parts, one behind the other. Each part has one colour, of
    the mean of its features by weight. With one part that is SNeRG's deferred shading (Hedman et
    al. 2021), and `color` is given the sum, which is less than the mean where a ray passes through.

    Args:
      features: [N, S, F].
      densities: [N, S], at least 0, per scene unit.
      depths: [N, S], increasing.
      lengths: [N, S], of the interval that each sample stands for, scene units.
      num_parts: P, of each ray.
      color: of features [N * P, F], those of one ray together; [N * P, 3].
    """
    weights = sample_weights(densities, lengths)
    of_parts = _weights_of_parts(weights, num_parts)
    opacity = tf.reduce_sum(of_parts, -1, keepdims=True)
    seen = tf.matmul(of_parts, features)
    if num_parts > 1:
        seen /= tf.maximum(opacity, _NO_OPACITY)
    colors = tf.reshape(color(tf.reshape(seen, [-1, features.shape[-1]])), [-1, num_parts, 3])
    return _composite(tf.reduce_sum(opacity * colors, 1), weights, depths)


def _composite(rgb: tf.Tensor, weights: tf.Tensor, depths: tf.Tensor) -> Composite:
    """Colours [N, 3] with what else follows from weights [N, S] at depths [N, S]."""
    opacity = tf.reduce_sum(weights, -1)
    depth = tf.reduce_sum(weights * depths, -1)
    expected_depth = tf.maximum(1e-10, tf.math.divide_no_nan(depth, opacity))
    disparity = tf.where(opacity > 0, 1 / expected_depth, 0.0)
    return Composite(rgb, depth, disparity, opacity, weights)


def sample_weights(densities: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """What each sample contributes to the colour of its ray: transmittance times alpha.

    Args:
      densities: [N, S], at least 0, per scene unit.
      lengths: [N, S], of the interval that each sample stands for, scene units.

    Returns:
      [N, S], at least 0, with a sum of at most 1 but for rounding.
    """
    alpha = 1 - tf.exp(-densities * lengths)
    # 1e-10 keeps the gradient of the product finite behind an opaque sample.
    transmittance = tf.math.cumprod(1 - alpha + 1e-10, -1, exclusive=True)
    return alpha * transmittance


def surface_depths(
    densities: tf.Tensor, depths: tf.Tensor, lengths: tf.Tensor, num_parts: int = 1
) -> tf.Tensor:
    """Depths [N, P] of the sample in each part before which a quarter of what is seen of it lies.

    Surfaces are soft, and light enters them: the mean depth is inside. Arguments of
    `composite_in_parts`.
    """
    of_parts = _weights_of_parts(sample_weights(densities, lengths), num_parts)
    passed = tf.cumsum(of_parts, -1)
    index = tf.reduce_sum(tf.cast(passed < _BEFORE_SURFACE * passed[..., -1:], tf.int32), -1)
    return tf.gather(depths, index, batch_dims=1)


def _weights_of_parts(weights: tf.Tensor, num_parts: int) -> tf.Tensor:
    """Weights [N, S] as [N, P, S], 0 outside of each part."""
    num_samples = tf.shape(weights)[1]
    part = tf.range(num_samples) * num_parts // num_samples
    is_part = tf.cast(part == tf.range(num_parts)[:, tf.newaxis], weights.dtype)
    return weights[:, tf.newaxis, :] * is_part


def sample_effects(colors: tf.Tensor, weights: tf.Tensor, background: float) -> tf.Tensor:
    """By how much the colour of a ray would be another without each of its samples.

    A sample that is not there uncovers what is behind it, so that is its weight times the
    difference to the colour of that.

    Args:
      colors: [N, S, 3].
      weights: [N, S].
      background: what is behind the last sample, in all channels.

    Returns:
      [N, S], the largest difference of the channels, from 0 to 1.
    """
    through = tf.cumsum(weights, -1)[..., tf.newaxis]
    before = tf.cumsum(weights[..., tf.newaxis] * colors, -2)
    left = 1 - through
    rgb = before[:, -1:] + left[:, -1:] * background
    behind = (rgb - before) / tf.maximum(left, 1e-5)
    difference = tf.reduce_max(tf.abs(colors - tf.clip_by_value(behind, 0.0, 1.0)), -1)
    return weights * difference


def distortion(weights: tf.Tensor, depths: tf.Tensor, intervals: tf.Tensor) -> tf.Tensor:
    """How far the weight of each ray is spread along it (Barron et al. 2022, equation 15).

    The mean distance of two places on the ray that are drawn by their weights; 0 if all weight is
    at one depth.

    Args:
      weights: [N, S].
      depths: [N, S], increasing, the middles of the intervals; of the unit that distances are in.
      intervals: [N, S], depth that each sample stands for.

    Returns:
      [N].
    """
    before = tf.cumsum(weights, -1, exclusive=True)
    moment_before = tf.cumsum(weights * depths, -1, exclusive=True)
    between = 2 * tf.reduce_sum(weights * (depths * before - moment_before), -1)
    return between + tf.reduce_sum(tf.square(weights) * intervals, -1) / 3
