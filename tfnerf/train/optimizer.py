"""Adam for groups of weights that learn at different rates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfnerf.fields.field import RateGroup
from tfnerf.settings import TrainingSettings
from tfnerf.train.schedule import DecayWithWarmup


class GroupedAdam:
    """One Adam (Kingma and Ba 2015) per group, all at the same step.

    Args:
      groups: at least one.
      settings: the learning rate that the groups' rates multiply, and how it changes.
    """

    def __init__(self, groups: Sequence[RateGroup], settings: TrainingSettings):
        self._groups = groups
        self._adams = [_make_adam(group, settings) for group in groups]

    @property
    def trained(self) -> list[keras.Variable]:
        """The weights of all groups, in their order."""
        return [variable for group in self._groups for variable in group.variables]

    @property
    def variables(self) -> list[Any]:
        """What a checkpoint has to hold: steps and moments."""
        return [variable for adam in self._adams for variable in adam.variables]

    @property
    def step(self) -> tf.Tensor:
        """Steps done, scalar int."""
        return tf.convert_to_tensor(self._adams[0].iterations.value)

    @property
    def learning_rate(self) -> float:
        """Of the first group at the next step."""
        return float(self._adams[0].learning_rate)

    def start_at(self, step: int) -> None:
        """Makes as if so many steps were done, with moments of zero."""
        for adam in self._adams:
            adam.iterations.assign(step)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """One step along gradients in the order of `trained`; Keras sums them over the replicas."""
        rest = list(gradients)
        for adam, group in zip(self._adams, self._groups):
            own, rest = rest[: len(group.variables)], rest[len(group.variables) :]
            adam.apply(own, group.variables)


def _make_adam(group: RateGroup, settings: TrainingSettings) -> keras.optimizers.Adam:
    schedule = DecayWithWarmup(
        group.rate * settings.learning_rate,
        settings.learning_rate_decay_steps,
        settings.learning_rate_warmup_steps,
    )
    adam = keras.optimizers.Adam(schedule, beta_1=group.beta_1, beta_2=group.beta_2)
    adam.build(group.variables)
    return adam
