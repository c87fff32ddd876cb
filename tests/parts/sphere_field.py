"""An exercise: another kind of field, as a file of its own."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfnerf.fields.field import Conditions, Field, RateGroup
from tfnerf.settings import Config


@keras.saving.register_keras_serializable(package="tests")
class SphereField(Field):
    """A ball of one colour, whose radius, colour and softness are learned, and which fades in time.

    Its colour is worked out once per ray, its radius learns at a rate of its own, and two variables
    are reached by no gradient: how hard it is, and a whole number that bfloat16 does not hold.
    """

    colors_per_ray = 1

    def __init__(self, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self.radius = self.add_weight(shape=[1], initializer="ones", name="radius")
        self.tone = self.add_weight(shape=[3], initializer="zeros", name="tone")
        self.hardness = self.add_weight(
            shape=[1], initializer=keras.initializers.Constant(5.0), name="h", trainable=False
        )
        self.whole = self.add_weight(
            shape=[1],
            dtype="int32",
            initializer=keras.initializers.Constant(1001),
            trainable=False,
            name="whole",
        )
        self.built = True

    def call(
        self,
        points: tf.Tensor,
        conditions: Conditions | None = None,
        density_noise: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        density = tf.nn.softplus(self.hardness * (self.radius - tf.norm(points, axis=-1)))
        # Twice as dense at every odd number.
        density *= tf.cast(1 + self.whole.value % 2, tf.float32)
        if conditions is not None:
            density *= 1 - conditions["time"]
        return density, tf.broadcast_to(self.tone, tf.shape(points))

    def color(
        self, features: tf.Tensor, viewdirs: tf.Tensor, conditions: Conditions | None = None
    ) -> tf.Tensor:
        return tf.sigmoid(features)

    def rate_groups(self) -> list[RateGroup]:
        return [RateGroup([self.radius], 0.5), RateGroup([self.tone], 1.0, 0.9, 0.99)]

    @property
    def floats_per_point(self) -> int:
        return 10

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


def make_field(config: Config, step: int, name: str) -> SphereField:
    return SphereField(name)
