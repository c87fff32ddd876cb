"""How points move: from where they are at a time to where they are in the canonical scene."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnerf.fields.encoding import encoding_width, positional_encoding

_FIRST_OFFSET = 2e-5
"""Largest weight of the last layer at first: so small that training begins with a scene that stands
still, as in nerfacc. D-NeRF begins with offsets of any size."""


@keras.saving.register_keras_serializable(package="tfnerf")
class Deformation(keras.layers.Layer):
    """A network from point and time to the offset of the point (D-NeRF: Pumarola et al. 2021).

    Its defaults are those of the small one of nerfacc (Li et al. 2023), which is as good at a
    thirtieth of the cost. Unlike there only the position enters again at the skip, as in D-NeRF.

    Args:
      depth: hidden layers.
      width: of each.
      skip_layer: after the layer of this index the encoded position is put in front of its output.
      frequencies: of the encodings of positions and times.
      zero_canonical: nothing moves at time 0, so that the canonical scene is the one of then.
    """

    def __init__(
        self,
        depth: int = 4,
        width: int = 64,
        skip_layer: int = 2,
        frequencies: int = 4,
        zero_canonical: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name, dtype="float32")
        self._config = {
            "depth": depth,
            "width": width,
            "skip_layer": skip_layer,
            "frequencies": frequencies,
            "zero_canonical": zero_canonical,
        }
        self.skip_layer = skip_layer
        self.frequencies = frequencies
        self.zero_canonical = zero_canonical
        position_width = encoding_width(3, frequencies)
        inputs = position_width + encoding_width(1, frequencies)
        self.hidden = []
        for index in range(depth):
            layer = keras.layers.Dense(width, activation="relu", name=f"hidden_{index}")
            layer.build([None, inputs])
            self.hidden.append(layer)
            inputs = width + (position_width if index == skip_layer else 0)
        small = keras.initializers.RandomUniform(-_FIRST_OFFSET, _FIRST_OFFSET)
        self.offset = keras.layers.Dense(3, kernel_initializer=small, name="offset")
        self.offset.build([None, inputs])
        self.built = True

    def call(self, points: tf.Tensor, time: tf.Tensor) -> tf.Tensor:
        """Offsets [M, 3] of points [M, 3] at times [M]."""
        position = positional_encoding(points, self.frequencies)
        moment = positional_encoding(time[:, tf.newaxis], self.frequencies)
        hidden = tf.concat([position, moment], -1)
        for index, layer in enumerate(self.hidden):
            hidden = layer(hidden)
            if index == self.skip_layer:
                hidden = tf.concat([position, hidden], -1)
        offset = self.offset(hidden)
        if self.zero_canonical:
            offset *= tf.cast(time != 0, tf.float32)[:, tf.newaxis]
        return offset

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        return {**self._config, "name": self.name}
