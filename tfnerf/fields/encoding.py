"""Positional encoding (section 5.1, equation 4)."""

from __future__ import annotations

import tensorflow as tf


def positional_encoding(points: tf.Tensor, num_frequencies: int) -> tf.Tensor:
    """[p, sin(p), cos(p), sin(2p), cos(2p), ..., cos(2^(L-1) p)].

    As in the released code and unlike equation 4, p itself is kept and there is no factor pi.

    Args:
      points: [..., D].
      num_frequencies: L.

    Returns:
      [..., D + 2 * L * D].
    """
    features = [points]
    for octave in range(num_frequencies):
        scaled = 2.0**octave * points
        features += [tf.sin(scaled), tf.cos(scaled)]
    return tf.concat(features, -1)


def encoding_width(dimensions: int, num_frequencies: int) -> int:
    """Numbers that `positional_encoding` makes of a point of so many dimensions."""
    return dimensions * (1 + 2 * num_frequencies)
