"""Codes of appearance: what of each training image is not of the scene (GLO).

Exposure, weather and white balance change from photograph to photograph. A code for each image is
learned with the networks, whose colours depend on it (NeRF in the Wild: Martin-Brualla et al. 2021,
section 4.1); densities do not.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

_SPREAD = 0.05
"""Standard deviation at first."""


@keras.saving.register_keras_serializable(package="tfnerf")
class AppearanceCodes(keras.layers.Layer):
    """One code for each of V images.

    Args:
      num_images: V.
      width: A, numbers of a code.
    """

    def __init__(self, num_images: int, width: int, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self._config = {"num_images": num_images, "width": width}
        self.rows = self.add_weight(
            shape=[num_images, width],
            initializer=keras.initializers.RandomNormal(0, _SPREAD),
            name="rows",
        )
        self.built = True

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """Codes [N, A] of images [N] by their index."""
        return tf.gather(self.rows.value, images)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make such codes again."""
        return {**self._config, "name": self.name}
