"""The learning rate."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

_LAST_SHARE = 0.02
"""Of the initial rate, at the end of a cosine."""


@keras.saving.register_keras_serializable(package="tfnerf")
class DecayWithWarmup(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that falls from an initial one, and rises linearly to it at first.

    Args:
      initial: the learning rate without warm-up at step 0.
      decay_steps: steps in which it falls by a factor of ten, and so on; of a cosine, steps in
        which it falls along half a period, to a fiftieth, where it stays.
      warmup_steps: steps until it is all there; 0: at once.
      cosine: it stays high for longer and falls faster then (Loshchilov and Hutter 2017, without
        restarts); else it falls exponentially.
    """

    def __init__(
        self, initial: float, decay_steps: int, warmup_steps: int = 0, *, cosine: bool = False
    ):
        self.initial = initial
        self.decay_steps = decay_steps
        self.warmup_steps = warmup_steps
        self.cosine = cosine

    def __call__(self, step: Any) -> tf.Tensor:
        """The learning rate, scalar float32, of a step, counted from 0."""
        step = tf.cast(step, tf.float32)
        rate = self.initial * self.decay(step)
        if self.warmup_steps:
            rate *= tf.minimum(1.0, (step + 1) / self.warmup_steps)
        return rate

    def decay(self, step: Any) -> tf.Tensor:
        """What is left of the initial rate after a step, without warm-up; scalar float32."""
        progress = tf.cast(step, tf.float32) / self.decay_steps
        if not self.cosine:
            return 0.1**progress
        return tf.maximum(_LAST_SHARE, (1 + tf.cos(math.pi * tf.minimum(progress, 1.0))) / 2)

    def get_config(self) -> dict[str, Any]:
        """The arguments that make this schedule again."""
        return {
            "initial": self.initial,
            "decay_steps": self.decay_steps,
            "warmup_steps": self.warmup_steps,
            "cosine": self.cosine,
        }
