"""Measures fields and samplers: rays per second, quality by training time, seconds per frame.

python -m benchmarks.fast --flagfile=configs/fast/lego.txt --data_dir=data/nerf_synthetic/lego
python -m benchmarks.fast                                     (the built-in scene, a few minutes)

Takes the flags of training. Prints tables and then, on the last line, the same as JSON. Ratios
compare figures that were measured in turn in this one run; times are medians. Training time counts
all but the measuring itself: compiling, growing planes and refreshing the grid are in it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import multiprocessing
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import flags

from tfnerf import command_line
from tfnerf.flags import config_from_flags, define_flags, to_flagfile

if TYPE_CHECKING:
    from serving.client.rendering import RenderClient
    from tfnerf.runs.trained import TrainedRun
    from tfnerf.scenes import Scene
    from tfnerf.settings import Config
    from tfnerf.train.trainer import Trainer

_log = logging.getLogger("tfnerf.benchmarks")
_SECONDS = flags.DEFINE_list("at_seconds", ["60", "180"], "Training times to measure quality at.")
_NUM_VIEWS = flags.DEFINE_integer("num_views", 5, "Held-out views that quality is measured on.", 1)
_ROUNDS = 3
_SECONDS_PER_CALL = 1.0


def main() -> None:
    """Runs all measurements."""
    config = config_from_flags().replaced(num_steps=10**9)
    command_line.import_tensorflow()
    from tfnerf.scenes import load_scene

    scene = load_scene(config.scene)
    with tempfile.TemporaryDirectory() as folder:
        config = config.replaced(output_dir=folder, experiment="run")
        trainer, curve = train_by_time(config, scene, sorted(map(float, _SECONDS.value)))
        figures = {
            "curve": curve,
            "speed": measure_steps(config, scene, trainer),
            "frame": measure_frames(_saved(config, trainer), Path(folder) / "models"),
        }
    print(json.dumps(figures))


def train_by_time(
    config: Config, scene: Scene, times: list[float]
) -> tuple[Trainer, list[dict[str, float]]]:
    """Trains until the last time, and measures held-out views at each."""
    import tensorflow as tf

    from tfnerf.evaluate.quality import measure_views
    from tfnerf.scenes import spread
    from tfnerf.train.trainer import Trainer
    from tfnerf.volume.image_renderer import ImageRenderer

    views = scene.held_out or scene.train
    views = views.select(spread(len(views), _NUM_VIEWS.value))
    begin = time.perf_counter()
    trainer = Trainer(scene, config, tf.distribute.get_strategy())
    spent, pace = time.perf_counter() - begin, 0.0
    curve = []
    for until in times:
        while spent < until:
            begin = time.perf_counter()
            due = [step - trainer.step for step in config.refined_at]
            wanted = int(np.clip(_SECONDS_PER_CALL / pace, 1, 100)) if pace else 1
            progress = trainer.run(min([wanted, *(steps for steps in due if steps > 0)]))
            pace = (time.perf_counter() - begin) / progress.num_steps
            if trainer.refines_now:
                trainer, pace = trainer.refined(), 0.0
            spent += time.perf_counter() - begin
        renderer = ImageRenderer(trainer.renderer, config.rendering)
        measured = measure_views(renderer, scene, views)
        curve.append(
            {
                "seconds": spent,
                "step": trainer.step,
                "psnr": float(np.mean([view.exact.psnr for view in measured])),
                "ssim": float(np.mean([view.exact.ssim for view in measured])),
                **trainer.extent,
            }
        )
        _print(f"after {spent:.0f} s", curve[-1])
    return trainer, curve


def measure_steps(config: Config, scene: Scene, trained: Trainer) -> dict[str, float]:
    """Steps of the trained run and of paper-size networks, with and without a grid, in turns."""
    import tensorflow as tf

    from tfnerf.settings import Config
    from tfnerf.train.trainer import Trainer

    paper = Config(scene=config.scene).replaced(batch_size=1024)
    strategy = tf.distribute.get_strategy()
    trainers = {
        "run": trained,
        "paper": Trainer(scene, paper, strategy),
        "paper_on_grid": Trainer(scene, paper.replaced(sampler="grid"), strategy),
    }
    num_steps = {"run": 16, "paper": 1, "paper_on_grid": 1}
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in trainers}
    for trainer in trainers.values():
        trainer.run(1)
    for _ in range(_ROUNDS):
        for name, trainer in trainers.items():
            begin = time.perf_counter()
            progress = trainer.run(num_steps[name])
            seconds = time.perf_counter() - begin
            points = trainer.renderer.sampler.points_per_ray
            samples = progress.statistics.live_rays * points
            rates[name].append((progress.num_rays / seconds, samples / seconds))
    speed = {}
    for name, found in rates.items():
        speed[f"{name}_rays_per_second"] = statistics.median(rays for rays, _ in found)
        speed[f"{name}_samples_per_second"] = statistics.median(samples for _, samples in found)
    for name in ("run", "paper_on_grid"):
        speed[f"{name}_over_paper"] = (
            speed[f"{name}_rays_per_second"] / speed["paper_rays_per_second"]
        )
    _print("training", speed)
    return speed


def measure_frames(run: TrainedRun, model_base_path: Path) -> dict[str, float]:
    """Seconds of a frame as trained and on a grid, in this process and served; size and memory.

    Served is what a client gets over gRPC from a server in a process of its own.
    """
    from export.exporting import export
    from serving.server.servable import Servable
    from tfnerf.runs.trained import TrainedRun

    on_grid = TrainedRun.load(str(run.folder.path), sampler="grid")
    exported = export(on_grid, model_base_path, "scene").path
    scene = run.scene()
    cameras = (scene.held_out or scene.train).cameras
    images = on_grid.image_renderer(scene)
    servable = Servable(exported)
    rays = cameras.image_rays(0, pixel_centers=scene.pixel_centers)
    from export.check import to_world

    origins, directions = to_world(scene, rays)
    inputs = {"origins": origins, "directions": directions}
    with _served(exported.parent) as client:
        calls = {
            "in_process": lambda: images(cameras, 0),
            "session": lambda: servable.run("serving_default", inputs),
            "served": lambda: client.render_rays(origins, directions),
        }
        if on_grid.as_trained is not None:
            exact = run.image_renderer(scene)
            calls["in_process_exact"] = lambda: exact(cameras, 0)
        figures = {f"{name}_seconds": median for name, median in _medians(calls).items()}
    for name in ("session", "served"):
        figures[f"{name}_over_in_process"] = (
            figures[f"{name}_seconds"] / figures["in_process_seconds"]
        )
    if "in_process_exact_seconds" in figures:
        figures["exact_over_grid"] = (
            figures["in_process_exact_seconds"] / figures["in_process_seconds"]
        )
    sizes = [file.stat().st_size for file in exported.rglob("*") if file.is_file()]
    figures["export_megabytes"] = sum(sizes) / 1e6
    figures["render_peak_megabytes"] = _peak_megabytes(run.folder.path)
    _print(f"a frame of {cameras.width} x {cameras.height}", figures)
    return figures


@contextlib.contextmanager
def _served(model_base_path: Path) -> Iterator[RenderClient]:
    """A client of a server of an export."""
    from serving.client.rendering import RenderClient

    arguments = ["--model_name=scene", f"--model_base_path={model_base_path}", "--port=0"]
    with subprocess.Popen(
        [sys.executable, "-m", "serving.server", *arguments], stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            lines = (json.loads(line) for line in server.stderr or () if line.startswith("{"))
            address = next(line["address"] for line in lines if "address" in line)
            with RenderClient([address], "scene") as client:
                yield client
        finally:
            server.terminate()


def _medians(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each, measured in turns after one that is left out."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + _ROUNDS):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}


def _saved(config: Config, trainer: Trainer) -> TrainedRun:
    """The state of a trainer as a run folder, read again."""
    from tfnerf.runs.checkpoints import Checkpoints
    from tfnerf.runs.folder import RunFolder
    from tfnerf.runs.trained import TrainedRun

    folder = RunFolder.of(config)
    folder.path.mkdir()
    folder.flags.write_text(to_flagfile(config))
    Checkpoints(folder.checkpoints).save(trainer.step, {"model": trainer.model.variables}, keep=1)
    return TrainedRun.load(str(folder.path))


def _peak_megabytes(run_dir: Path) -> float:
    """Of a process of its own that renders a frame: the peak of one that trained says nothing."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_render_and_report, (str(run_dir),))


def _render_and_report(run_dir: str) -> float:
    from tfnerf.runs.trained import TrainedRun

    run = TrainedRun.load(run_dir, sampler="grid")
    scene = run.scene(["train"])
    run.image_renderer(scene)(scene.train.cameras, 0)
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 1024


def _print(title: str, figures: dict[str, Any]) -> None:
    print(title)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"  {name:<{width}}  {value:>14,.3f}")


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
