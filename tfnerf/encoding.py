"""Positional encoding (section 5.1, equation 4)."""

from __future__ import annotations

import tensorflow as tf
from tensorflow_graphics.math import feature_representation


def positional_encoding(points: tf.Tensor, num_frequencies: int) -> tf.Tensor:
    """[p, sin(p), cos(p), sin(2p), cos(2p), ..., cos(2^(L-1) p)].

    As in the released code and unlike equation 4, p itself is kept and there is no factor pi.

    Args:
      points: [..., D].
      num_frequencies: L.

    Returns:
      [..., D + 2 * L * D].
    """
    return feature_representation.positional_encoding(points, num_frequencies)


def encoding_width(dimensions: int, num_frequencies: int) -> int:
    """Numbers that `positional_encoding` makes of a point of so many dimensions."""
    return dimensions * (1 + 2 * num_frequencies)
