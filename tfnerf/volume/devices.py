"""Which devices compute, and how much at a time."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

import tensorflow as tf

from tfnerf.fields.field import Field
from tfnerf.settings import RenderSettings
from tfnerf.volume.samplers import Sampler

_CPU_RAYS_PER_CHUNK = 1024
_CPU_POINTS_PER_CHUNK = 1 << 18
"""More rays with more points than these need more memory on a CPU, and are no faster."""
_MAX_GPU_RAYS_PER_CHUNK = 1 << 15
_MEMORY_FRACTION = 0.25
"""Of a device, that a chunk may take; weights, gradients and the allocator's gaps take some too."""
_PICTURE_FRACTION = 0.25
"""Of what a point takes in training: nothing is kept for gradients."""
_BYTES_PER_FLOAT = 4
_UNKNOWN_GPU_BYTES = 8 << 30
"""Of a GPU whose driver tells nothing."""
_CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much memory a container may take: control groups of version 2 and 1."""


@functools.cache
def all_devices() -> tf.distribute.Strategy:
    """A strategy over the GPUs of this machine where there are several; else the default one.

    Always the same, because networks that one strategy made cannot be used by another.
    """
    gpus = tf.config.list_logical_devices("GPU")
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy([device.name for device in gpus])
    return tf.distribute.get_strategy()


def uses_xla(settings: RenderSettings) -> bool:
    """Whether `--jit_compile` means XLA on the devices of this machine.

    A grid leaves out rays, so that shapes change from batch to batch, and XLA would compile each.
    """
    if settings.sampler == "grid":
        return False
    if settings.jit_compile == "auto":
        return bool(tf.config.list_physical_devices("GPU"))
    return settings.jit_compile == "on"


def compute_exactly() -> None:
    """Has CPUs add up in a fixed order, so that the same steps have the same results.

    The gradient of a look-up is otherwise added up by several threads that overwrite each other's
    sums. On GPUs TensorFlow refuses it altogether then; there sums are right, in whatever order.
    """
    if not tf.config.list_physical_devices("GPU"):
        tf.config.experimental.enable_op_determinism()


def training_rays_per_chunk(settings: RenderSettings, sampler: Sampler, field: Field) -> int:
    """How many rays a device trains on at a time: those of the flag, or as many as fit."""
    if settings.rays_per_chunk is not None:
        return settings.rays_per_chunk
    return _rays_that_fit(sampler, field, fraction=1.0)


def picture_rays_per_chunk(settings: RenderSettings, sampler: Sampler, field: Field) -> int:
    """How many rays of a picture a device renders at a time."""
    if settings.given_picture_rays_per_chunk is not None:
        return settings.given_picture_rays_per_chunk
    return _rays_that_fit(sampler, field, fraction=_PICTURE_FRACTION)


def cpu_rays_per_chunk(sampler: Sampler) -> int:
    """How many rays keep a CPU busy."""
    return max(_CPU_RAYS_PER_CHUNK, _CPU_POINTS_PER_CHUNK // sampler.points_per_ray)


def _rays_that_fit(sampler: Sampler, field: Field, *, fraction: float) -> int:
    """As many as fit into memory, if each point takes a fraction of what it takes in training."""
    bytes_per_point = fraction * _BYTES_PER_FLOAT * field.floats_per_point
    fitting = int(_MEMORY_FRACTION * _memory_bytes() / (bytes_per_point * sampler.points_per_ray))
    on_gpu = bool(tf.config.list_physical_devices("GPU"))
    return max(1, min(fitting, _MAX_GPU_RAYS_PER_CHUNK if on_gpu else cpu_rays_per_chunk(sampler)))


def _memory_bytes() -> int:
    """Of the smallest GPU, or where there is none of the machine, or the container that this is."""
    if tf.config.list_physical_devices("GPU"):
        return _gpu_memory_bytes()
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([installed, *filter(None, map(_limit_in, _CONTAINER_LIMITS))])


def _limit_in(path: Path) -> int | None:
    """The bytes that a file of control groups allows; None: there is none, or no limit."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _gpu_memory_bytes() -> int:
    """As the driver tells: TensorFlow knows only what it has not yet taken itself."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return min(int(mebibytes) << 20 for mebibytes in found.stdout.split())
    except (OSError, subprocess.SubprocessError, ValueError):
        return _UNKNOWN_GPU_BYTES
