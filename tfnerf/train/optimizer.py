"""Adam for groups of weights that learn at different rates."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfnerf.fields.field import RateGroup
from tfnerf.settings import TrainingSettings
from tfnerf.train.schedule import DecayWithWarmup

_EPSILON = 1e-7


class GroupedAdam:
    """One Adam (Kingma and Ba 2015) per group, all at the same step.

    Each weight is updated by one kernel, where Keras would pass over large planes a dozen times.

    Args:
      groups: at least one.
      settings: the learning rate that the groups' rates multiply, and how it changes.
      restart: step at which the moments were zero.

    Attributes:
      restart: that step, as a checkpoint has to hold it.
    """

    def __init__(
        self, groups: Sequence[RateGroup], settings: TrainingSettings, *, restart: int = 0
    ):
        self.restart = _counter(restart, "restart")
        self._adams = [_Adam(group, settings, self.restart) for group in groups]

    @property
    def trained(self) -> list[keras.Variable]:
        """The weights of all groups, in their order."""
        return [weight for adam in self._adams for weight in adam.group.variables]

    @property
    def variables(self) -> list[keras.Variable]:
        """What a checkpoint has to hold beside `restart`: steps and moments."""
        return [variable for adam in self._adams for variable in adam.variables]

    @property
    def step(self) -> tf.Tensor:
        """Steps done, scalar int64."""
        return tf.convert_to_tensor(self._adams[0].step.value)

    @property
    def learning_rate(self) -> float:
        """Of the first group at the next step."""
        return float(self._adams[0].schedule(self.step))

    @property
    def rate_share(self) -> tf.Tensor:
        """What is left of the initial learning rate at the next step, scalar float32.

        Warm-up does not count.
        """
        return self._adams[0].schedule.decay(self.step)

    def start_at(self, step: int) -> None:
        """Makes Adam, of which no step was done yet, start anew after so many steps."""
        self.restart.assign(step)
        for adam in self._adams:
            adam.step.assign(step)

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """One step of a replica along gradients in the order of `trained`, summed over replicas."""
        replica = tf.distribute.get_replica_context()
        rest = list(replica.all_reduce(tf.distribute.ReduceOp.SUM, list(gradients)))
        for adam in self._adams:
            count = len(adam.group.variables)
            adam.apply(rest[:count])
            rest = rest[count:]


class _Adam:
    """The steps and moments of one group."""

    def __init__(self, group: RateGroup, settings: TrainingSettings, restart: keras.Variable):
        self.group = group
        self._restart = restart
        self.schedule = DecayWithWarmup(
            group.rate * settings.learning_rate,
            settings.learning_rate_decay_steps,
            settings.learning_rate_warmup_steps,
            cosine=settings.learning_rate_decay == "cosine",
        )
        self.step = _counter(0, "step")
        self._moments = [
            tuple(
                keras.Variable(
                    initializer=keras.initializers.Zeros(),
                    shape=weight.shape,
                    dtype=weight.dtype,
                    trainable=False,
                    name=name,
                )
                for name in ("momentum", "velocity")
            )
            for weight in group.variables
        ]

    @property
    def variables(self) -> list[keras.Variable]:
        """In the order of Keras' Adam, whose checkpoints can be read so."""
        return [self.step, *(moment for moments in self._moments for moment in moments)]

    def apply(self, gradients: Sequence[tf.Tensor]) -> None:
        """One step along gradients [...] of the weights."""
        count = tf.cast(self.step.value + 1 - self._restart.value, tf.float32)
        _, _, beta_1, beta_2 = self.group
        rate = self.schedule(self.step.value)
        for weight, (momentum, velocity), gradient in zip(
            self.group.variables, self._moments, gradients
        ):
            tf.raw_ops.ResourceApplyAdam(
                var=weight.value.handle,
                m=momentum.value.handle,
                v=velocity.value.handle,
                beta1_power=tf.pow(beta_1, count),
                beta2_power=tf.pow(beta_2, count),
                lr=rate,
                beta1=beta_1,
                beta2=beta_2,
                epsilon=_EPSILON,
                grad=gradient,
            )
        self.step.value.assign_add(1)


def _counter(value: int, name: str) -> keras.Variable:
    return keras.Variable(
        value, dtype="int64", trainable=False, aggregation="only_first_replica", name=name
    )
