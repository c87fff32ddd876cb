"""Measures training and rendering against what this machine can do at best.

python -m benchmarks.training

Prints a table and then, on the last line, the same as JSON. All ratios compare figures that were
measured in turn in this one run, because machines differ and drift; times are medians. It takes
about five minutes on two CPU cores.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from tfnerf.fields.model import NeRF, make_model
from tfnerf.runs.begin import begin_run
from tfnerf.runs.folder import RunFolder
from tfnerf.scenes import Scene, load_scene
from tfnerf.settings import (
    Config,
    NetworkSettings,
    RenderSettings,
    SceneSettings,
    TrainingSettings,
)
from tfnerf.train.loop import TrainingRun
from tfnerf.train.trainer import Trainer
from tfnerf.volume.image_renderer import ImageRenderer
from tfnerf.volume.scene_renderer import SceneRenderer

_ROUNDS = 3
_SGEMM_SIZE = 4096
_PAPER = RenderSettings(num_coarse_samples=64, num_fine_samples=128)
_QUICK_NETWORK = NetworkSettings(net_depth=4, net_width=32, skip_layer=1)
_QUICK_SAMPLES = RenderSettings(num_coarse_samples=32, num_fine_samples=64)


def main() -> None:
    """Runs all measurements."""
    scene = load_scene(SceneSettings(white_background=True), ("train",))
    figures = {
        **measure_step(scene),
        **measure_host_overhead(scene),
        **measure_image_calls(scene),
        **measure_render_memory(),
    }
    figures["host_over_paper_step"] = (
        figures["host_milliseconds_per_step"] / 1000 / figures["paper_step_seconds"]
    )
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:<{width}}  {value:>12,.3f}")
    print(json.dumps(figures))


def seconds(function: Callable[[], object]) -> float:
    """Wall time of a call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure_step(scene: Scene) -> dict[str, float]:
    """The paper-size step with and without compilation, against NumPy's matrix product."""
    config = Config(
        rendering=_PAPER, training=TrainingSettings(batch_size=1024, num_steps=1_000_000)
    )
    in_bfloat16 = config.replaced(mixed_precision=True)
    compiled, xla, mixed, eager = (
        Trainer(scene, variant.replaced(jit_compile=jit), tf.distribute.get_strategy())
        for variant, jit in ((config, "off"), (config, "on"), (in_bfloat16, "off"), (config, "off"))
    )
    matrix = np.random.default_rng(0).random([_SGEMM_SIZE, _SGEMM_SIZE], np.float32)

    def eager_step() -> None:
        tf.config.run_functions_eagerly(True)
        eager.run(1)
        tf.config.run_functions_eagerly(False)

    calls = {
        "sgemm": lambda: matrix @ matrix,
        "compiled": lambda: compiled.run(1),
        "compiled_xla": lambda: xla.run(1),
        "compiled_mixed": lambda: mixed.run(1),
        "eager": eager_step,
    }
    for call in calls.values():
        call()
    times = {name: [] for name in calls}
    for _ in range(_ROUNDS):
        for name, call in calls.items():
            times[name].append(seconds(call))
    median = {name: statistics.median(values) for name, values in times.items()}
    peak = 2 * _SGEMM_SIZE**3 / median["sgemm"]
    rays = config.training.batch_size
    achieved = rays * _flops_per_ray(compiled.model) / median["compiled"]
    return {
        "sgemm_gflops": peak / 1e9,
        "rays_per_second": rays / median["compiled"],
        "rays_per_second_xla": rays / median["compiled_xla"],
        "rays_per_second_mixed_precision": rays / median["compiled_mixed"],
        "rays_per_second_eager": rays / median["eager"],
        "compiled_over_eager": median["eager"] / median["compiled"],
        "xla_over_compiled": median["compiled"] / median["compiled_xla"],
        "mixed_precision_over_compiled": median["compiled"] / median["compiled_mixed"],
        "fraction_of_sgemm": achieved / peak,
        "paper_step_seconds": median["compiled"],
    }


def _flops_per_ray(model: NeRF) -> int:
    """Of the matrix products of a step: forwards, and backwards twice as many."""
    kernels = sum(int(np.prod(v.shape)) for v in model.coarse.weights if len(v.shape) == 2)
    samples = 2 * _PAPER.num_coarse_samples + _PAPER.num_fine_samples
    return 3 * 2 * kernels * samples


def measure_host_overhead(scene: Scene) -> dict[str, float]:
    """What the training loop spends outside the graph: logging, TensorBoard, checkpoints.

    Paper-size networks with few rays, so that many steps are quick and checkpoints full-size.
    """
    num_steps = 1000
    config = Config(rendering=_PAPER).replaced(ndc=False, batch_size=8, num_eval_views=0)
    config = config.replaced(eval_every=0)

    def outside(folder: str, last_step: int) -> tuple[float, int]:
        """Seconds outside the graph of a run that goes on to a step, and calls from the host."""
        until_then = config.replaced(output_dir=folder, num_steps=last_step)
        run_folder = RunFolder.of(until_then)
        begin_run(until_then, run_folder)
        run = TrainingRun(until_then, scene, run_folder, tf.distribute.get_strategy())
        with counted_calls() as count:
            spent = seconds(run.train) - run.graph_seconds
        return spent, count()

    with tempfile.TemporaryDirectory() as folder:
        outside(folder, 1)
        start_up, start_up_calls = outside(folder, 2)
        spent, calls = outside(folder, 2 + num_steps)
    return {
        "host_milliseconds_per_step": 1000 * max(spent - start_up, 0.0) / num_steps,
        "host_calls_per_step": (calls - start_up_calls) / num_steps,
    }


def measure_image_calls(scene: Scene) -> dict[str, float]:
    """How often the host calls TensorFlow for an image, once it is known how long chunks take."""
    config = Config(network=_QUICK_NETWORK, rendering=_QUICK_SAMPLES)
    renderer = SceneRenderer.of(scene, make_model(config), config.rendering)
    renderer_of_images = ImageRenderer(renderer, config.rendering)
    for _ in range(3):
        with counted_calls() as count:
            renderer_of_images(scene.train.cameras, 0)
    return {"host_calls_per_image": count()}


@contextlib.contextmanager
def counted_calls() -> Iterator[Callable[[], int]]:
    """Counts what the host asks of TensorFlow's runtime: single operations and whole graphs."""
    from tensorflow.python import pywrap_tfe
    from tensorflow.python.eager import execute

    number = 0

    def counted(function: Callable) -> Callable:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal number
            number += 1
            return function(*arguments, **options)

        return call

    with contextlib.ExitStack() as stack:
        for module, name in (
            (pywrap_tfe, "TFE_Py_FastPathExecute"),
            (execute, "execute"),
            (execute, "execute_with_cancellation"),
        ):
            patch = mock.patch.object(module, name, counted(getattr(module, name)))
            stack.enter_context(patch)
        yield lambda: number


def measure_render_memory() -> dict[str, float]:
    """Peak memory of processes that each render one image."""
    small, large = (_peak_megabytes(size, _QUICK_NETWORK, _QUICK_SAMPLES) for size in (100, 1000))
    return {
        "render_100_peak_megabytes": small,
        "render_1000_peak_megabytes": large,
        "render_memory_large_over_small": large / small,
        "render_paper_size_peak_megabytes": _peak_megabytes(100, NetworkSettings(), _PAPER),
    }


def _peak_megabytes(size: int, network: NetworkSettings, samples: RenderSettings) -> float:
    # A process of its own: the peak of one that did other things before says nothing.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_render_and_report, (size, network, samples))


def _render_and_report(size: int, network: NetworkSettings, samples: RenderSettings) -> float:
    from tfnerf.geometry.cameras import Cameras
    from tfnerf.geometry.paths import orbit_path

    scene = load_scene(SceneSettings(white_background=True), ("train",))
    model = make_model(Config(network=network, rendering=samples))
    renderer = ImageRenderer(SceneRenderer.of(scene, model, samples), samples)
    renderer(Cameras.pinhole(orbit_path(1), size, size, 1.2 * size), 0)
    # Not getrusage: its peak includes that of the process which started this one.
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


if __name__ == "__main__":
    main()
