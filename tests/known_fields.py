"""Fields in closed form, in the place of networks."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from tfnerf.fields.field import Conditions, Field
from tfnerf.fields.model import NeRF


class KnownField(Field):
    """Density as a function of points [M, 3], colour as one of points and view directions."""

    def __init__(
        self,
        density: Callable[[tf.Tensor], tf.Tensor],
        color: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ):
        super().__init__(dtype="float32")
        self._density = density
        self._color = color
        self.built = True

    def call(
        self,
        points: tf.Tensor,
        conditions: Conditions | None = None,
        density_noise: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        density = self._density(points)
        noise = 0.0 if density_noise is None else density_noise
        return tf.nn.relu(density + noise), points

    def color(
        self, features: tf.Tensor, viewdirs: tf.Tensor, conditions: Conditions | None = None
    ) -> tf.Tensor:
        return self._color(features, viewdirs)

    @property
    def floats_per_point(self) -> int:
        return 8


def known_model(field: Field) -> NeRF:
    """Coarse and fine of the same known field."""
    return NeRF(field, field)
