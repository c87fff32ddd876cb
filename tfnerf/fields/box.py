"""A box of space, the part of it that a field or a grid is about."""

from __future__ import annotations

import keras
import tensorflow as tf


class Box(keras.layers.Layer):
    """Axis-aligned, in the coordinates that rays have after the scene's warp.

    Its corners are 64-bit numbers, which exports store as they are, whatever they round.
    """

    def __init__(self, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self.corners = self.add_weight(
            shape=[2, 3], dtype="float64", initializer="zeros", trainable=False, name="corners"
        )
        self.built = True

    @property
    def low(self) -> tf.Tensor:
        """[3] float32, the lowest corner."""
        return tf.cast(self.corners[0], tf.float32)

    @property
    def size(self) -> tf.Tensor:
        """[3] float32, length of the sides."""
        return tf.cast(self.corners[1] - self.corners[0], tf.float32)

    def to_unit(self, points: tf.Tensor) -> tf.Tensor:
        """Points [..., 3] in coordinates that go from 0 to 1 inside."""
        return (points - self.low) / self.size
