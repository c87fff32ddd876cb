"""Which devices train."""

from __future__ import annotations

import os

import tensorflow as tf

from tfnerf.errors import UserError, first_line
from tfnerf.volume.devices import all_devices


def make_strategy(distribution: str) -> tf.distribute.Strategy:
    """The strategy that `--distribution` names; call it before any other TensorFlow operation.

    Args:
      distribution: auto, mirrored, multi_worker or none.

    Raises:
      UserError: multi_worker without a usable TF_CONFIG in the environment.
    """
    if distribution == "auto":
        if not os.environ.get("TF_CONFIG"):
            return all_devices()
        distribution = "multi_worker"
    if distribution == "multi_worker":
        if not os.environ.get("TF_CONFIG"):
            raise UserError("--distribution=multi_worker: needs TF_CONFIG in the environment")
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, KeyError, TypeError, tf.errors.OpError) as error:
            raise UserError(f"TF_CONFIG: not a usable cluster: {first_line(error)}") from None
    if distribution == "mirrored":
        kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
        devices = [device.name for device in tf.config.list_logical_devices(kind)]
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process is the one that writes the run folder."""
    resolver = strategy.cluster_resolver
    return (
        resolver is None
        or resolver.task_type in (None, "chief")
        or (
            resolver.task_type == "worker"
            and resolver.task_id == 0
            and "chief" not in resolver.cluster_spec().jobs
        )
    )
