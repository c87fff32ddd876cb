"""Trainers on one and on two devices, and whether they agree."""

from __future__ import annotations

import functools

import numpy as np
import tensorflow as tf

from tfnerf.scenes import Scene
from tfnerf.settings import Config
from tfnerf.train.trainer import Progress, Trainer


def one_device(scene: Scene, config: Config) -> Trainer:
    return Trainer(scene, config, tf.distribute.get_strategy())


@functools.cache
def both_devices() -> tf.distribute.Strategy:
    """Always the same: reductions of a second one are taken for those of the first."""
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) == 2
    return tf.distribute.MirroredStrategy(devices)


def two_devices(scene: Scene, config: Config) -> Trainer:
    return Trainer(scene, config, both_devices())


def weights(trainer: Trainer) -> np.ndarray:
    return np.concatenate([weight.ravel() for weight in trainer.model.get_weights()])


def assert_close(one: Progress, other: Progress, rtol: float = 1e-4) -> None:
    for a, b in zip(tf.nest.flatten(one.statistics), tf.nest.flatten(other.statistics)):
        np.testing.assert_allclose(a, b, rtol=rtol)
