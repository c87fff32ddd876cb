"""What a field is: density and colour at points, of which kind it ever is."""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfnerf.settings import TrainingSettings

Conditions = dict[str, tf.Tensor]
"""What colours or densities depend on beside position and direction, for example the time: one row
per ray or point, by the name of the condition. None where a scene has no conditions."""


def condition_of(conditions: Conditions | None, name: str) -> tf.Tensor:
    """The rows of a condition that a field depends on; ValueError if they are missing."""
    if conditions is None or name not in conditions:
        found = ", ".join(conditions or {}) or "none"
        raise ValueError(f"expected rays or points under a condition named {name}, found {found}")
    return conditions[name]


class Radiance(NamedTuple):
    """What is at M points."""

    rgb: tf.Tensor
    """[M, 3], 0 to 1."""
    density: tf.Tensor
    """[M], at least 0, per unit of the coordinates of the points."""


class Loss(NamedTuple):
    """A term of the loss that training lowers."""

    name: str
    weight: float | tf.Tensor
    value: tf.Tensor
    """Scalar float32."""


class RateGroup(NamedTuple):
    """Weights that Adam trains at one rate."""

    variables: list[keras.Variable]
    rate: float = 1.0
    """Times the learning rate of the run."""
    beta_1: float = 0.9
    beta_2: float = 0.999


class Field(keras.Model):
    """Colour and density at single points, worked out in two steps.

    The first gives densities, and features that the second makes colours of. So colours can be left
    out where nothing is, or be worked out a few times per ray (`colors_per_ray`). Activations are
    the field's own. Coordinates are those that rays have after the scene's warp.
    """

    colors_per_ray: int | None = None
    """Colours that are made of composited features; None: one is made for each sample."""
    has_shadow_hints = False
    """Whether colours depend on the condition "lit" [M], the share of the light that arrives."""

    def call(
        self,
        points: tf.Tensor,
        conditions: Conditions | None = None,
        density_noise: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Density and features.

        Args:
          points: [M, 3].
          conditions: of each point.
          density_noise: [M], added to densities before their activation.

        Returns:
          Densities [M], at least 0, per unit of length; features [M, F].
        """
        raise NotImplementedError

    def color(
        self, features: tf.Tensor, viewdirs: tf.Tensor, conditions: Conditions | None = None
    ) -> tf.Tensor:
        """Features to colours.

        Args:
          features: [M, F], of samples, or composited along parts of rays.
          viewdirs: [M, 3], unit vectors along which they are seen, in world axes.
          conditions: of each row.

        Returns:
          [M, 3], 0 to 1.
        """
        raise NotImplementedError

    def radiance(
        self, points: tf.Tensor, viewdirs: tf.Tensor, conditions: Conditions | None = None
    ) -> Radiance:
        """Both steps for points [M, 3] seen along unit vectors [M, 3]."""
        density, features = self(points, conditions)
        return Radiance(self.color(features, viewdirs, conditions), density)

    def densities_on_grid(self, resolution: int, time: float | None = None) -> tf.Tensor | None:
        """Densities at the centres of all cells of a grid over the field's box.

        Args:
          resolution: G, cells along each side.
          time: of the scene; None where nothing moves.

        Returns:
          [G, G, G]; None if the field has no box, or has to be asked for each of them.
        """
        return None

    @property
    def moments(self) -> np.ndarray:
        """Times between which densities rise or fall evenly; none if that is not known."""
        return np.zeros(0)

    def place(self, box: np.ndarray) -> None:
        """Says in which box [2, 3] of space the scene is, before training; most need not know."""

    def refine(self, coarse: Field, box: np.ndarray) -> None:
        """Takes over what a field has learned that was made for an earlier step.

        Args:
          coarse: that field.
          box: [2, 3], to which the scene has been narrowed down.
        """
        self.set_weights(coarse.get_weights())

    def penalties(self, settings: TrainingSettings, rate_share: tf.Tensor | float) -> list[Loss]:
        """What training lowers of the weights themselves; most fields have nothing such.

        Args:
          settings: of the run.
          rate_share: what is left of the initial learning rate, scalar.
        """
        return []

    def rate_groups(self) -> list[RateGroup]:
        """All trainable weights, each in one group."""
        return [RateGroup(self.trainable_variables)]

    @property
    def num_cells_per_side(self) -> int | None:
        """Of the planes that the field is made of; None: it is not made of such."""
        return None

    @property
    def floats_per_point(self) -> int:
        """Numbers that training keeps in memory for each point; rendering keeps fewer."""
        raise NotImplementedError
