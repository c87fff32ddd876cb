"""The networks of a scene, and the one place that makes them."""

from __future__ import annotations

import importlib
from typing import Any

import keras
import tensorflow as tf

from tfnerf.fields.field import Conditions, Field, RateGroup
from tfnerf.settings import Config


@keras.saving.register_keras_serializable(package="tfnerf")
class NeRF(keras.Model):
    """The coarse network, that finds where to look, and the fine one, that looks there.

    Args:
      coarse: evaluated at stratified samples.
      fine: evaluated at these and at the resampled ones; None: the coarse network serves for both.

    Example:
      >>> nerf = NeRF(RadianceField(), RadianceField())
      >>> nerf.count_params()
      1191688
    """

    def __init__(self, coarse: Field, fine: Field | None = None, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self.coarse = coarse
        self.fine = fine
        self.built = True

    @property
    def final(self) -> Field:
        """The network that final colours come from."""
        return self.coarse if self.fine is None else self.fine

    def call(
        self, points: tf.Tensor, conditions: Conditions | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Evaluates the network that final colours come from; see `Field.call`."""
        return self.final(points, conditions)

    def rate_groups(self) -> list[RateGroup]:
        """Those of the coarse network, then those of the fine one."""
        fields = [self.coarse] if self.fine is None else [self.coarse, self.fine]
        return _joined([group for field in fields for group in field.rate_groups()])

    def get_config(self) -> dict[str, Any]:
        """The networks, serialized."""
        serialize = keras.saving.serialize_keras_object
        return {
            "coarse": serialize(self.coarse),
            "fine": None if self.fine is None else serialize(self.fine),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NeRF:
        """The inverse of `get_config`."""
        deserialize = keras.saving.deserialize_keras_object
        fine = config["fine"]
        return cls(
            deserialize(config["coarse"]),
            None if fine is None else deserialize(fine),
            name=config["name"],
        )


def make_model(config: Config, *, step: int = 0) -> NeRF:
    """New networks with the shapes that they have after a step.

    Shapes are a function of the arguments and of nothing else, so that a checkpoint of that step
    can be restored into them.

    Args:
      config: which kind of field, and how large.
      step: of the run.
    """
    make_field = importlib.import_module(f"tfnerf.fields.{config.network.field}").make_field
    coarse = make_field(config, step, "coarse")
    fine = make_field(config, step, "fine") if config.rendering.has_coarse_network else None
    return NeRF(coarse, fine, name="nerf")


def _joined(groups: list[RateGroup]) -> list[RateGroup]:
    """One group for all that are trained alike."""
    joined: dict[tuple[float, ...], list[keras.Variable]] = {}
    for variables, *rates in groups:
        joined.setdefault(tuple(rates), []).extend(variables)
    return [RateGroup(variables, *rates) for rates, variables in joined.items()]
