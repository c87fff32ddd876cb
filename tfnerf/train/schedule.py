"""The learning rate."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="tfnerf")
class DecayWithWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """initial * 0.1^(step / decay_steps), rising linearly at first.

    Args:
      initial: the learning rate without warm-up at step 0.
      decay_steps: steps in which it falls by a factor of ten, continuously.
      warmup_steps: steps until it is all there; 0: at once.
    """

    def __init__(self, initial: float, decay_steps: int, warmup_steps: int = 0):
        self.initial = initial
        self.decay_steps = decay_steps
        self.warmup_steps = warmup_steps

    def __call__(self, step: Any) -> tf.Tensor:
        """The learning rate, scalar float32, of a step, counted from 0."""
        step = tf.cast(step, tf.float32)
        rate = self.initial * self.decay(step)
        if self.warmup_steps:
            rate *= tf.minimum(1.0, (step + 1) / self.warmup_steps)
        return rate

    def decay(self, step: Any) -> tf.Tensor:
        """What is left of the initial rate after a step, without warm-up; scalar float32."""
        share: tf.Tensor = 0.1 ** (tf.cast(step, tf.float32) / self.decay_steps)
        return share

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again."""
        return {
            "initial": self.initial,
            "decay_steps": self.decay_steps,
            "warmup_steps": self.warmup_steps,
        }
