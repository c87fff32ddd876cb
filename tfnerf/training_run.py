"""A training run from its first step, or from its newest checkpoint, to its last."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
from types import FrameType

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfnerf.checkpoints import Checkpoints, list_checkpoints
from tfnerf.distribution import is_chief
from tfnerf.errors import UserError
from tfnerf.evaluation import (
    ViewMetrics,
    held_out_sheet,
    make_renderer,
    measure_views,
    spread,
    true_colors,
)
from tfnerf.renderer import ImageRenderer
from tfnerf.report import TrainingReport
from tfnerf.run_folder import RunFolder
from tfnerf.scenes import Scene
from tfnerf.settings import Config, TrainingSettings
from tfnerf.trainer import Trainer

_log = logging.getLogger(__name__)
_SECONDS_PER_CALL = 1.0
"""How long a call into the graph may take: until then nothing is shown and no signal answered."""
_MOST_STEPS_PER_CALL = 100


class InterruptedRunError(Exception):
    """The run was asked to stop, and has saved a checkpoint."""

    def __init__(self, step: int, number: int):
        super().__init__(f"stopped after step {step}; the same command goes on from there")
        self.exit_status = 128 + number


class StopRequest:
    """Remembers SIGTERM and SIGINT, so that a run stops between steps; a context manager."""

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> StopRequest:
        self._before = {
            number: signal.signal(number, self._remember)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = number


def train(
    config: Config, scene: Scene, folder: RunFolder, strategy: tf.distribute.Strategy
) -> list[ViewMetrics]:
    """Trains, from the newest checkpoint of the folder on if there is one.

    Returns:
      How close held-out views come at the end; empty where there are none.

    Raises:
      UserError: the settings do not fit the scene, the disk is full, no checkpoint can be read, or
        the loss is not finite.
      InterruptedRunError: by SIGTERM or SIGINT.
    """
    chief = is_chief(strategy)
    trainer = Trainer(scene, config, strategy)
    checkpoints = Checkpoints(
        folder.checkpoints,
        {"model": trainer.model.variables, "optimizer": trainer.optimizer.variables},
    )
    if chief:
        checkpoints.remove_unfinished()
    restored = checkpoints.restore_newest()
    _check_same_step(trainer.step, strategy)
    renderer = make_renderer(trainer.model, scene, config.rendering)
    if restored is not None:
        _log.info("resuming after step %d", restored)
    if chief:
        folder.drop_metrics_after(trainer.step)
    if trainer.step < config.training.num_steps:
        _train_steps(config, scene, folder, trainer, checkpoints, renderer, chief)
    return _measure(config, scene, renderer) if chief else []


def _train_steps(
    config: Config,
    scene: Scene,
    folder: RunFolder,
    trainer: Trainer,
    checkpoints: Checkpoints,
    renderer: ImageRenderer,
    chief: bool,
) -> None:
    """The loop: some steps in the graph, then whatever is due. Only the chief writes."""
    settings = config.training
    report = (
        TrainingReport(folder, trainer.step, settings.num_steps, settings.batch_size)
        if chief
        else contextlib.nullcontext()
    )
    own_pace = pace = 0.0
    with StopRequest() as request, report as shown:
        while (step := trainer.step) < settings.num_steps:
            num_steps = min(_steps_per_call(pace), _steps_until_due(step, settings))
            begin = time.perf_counter()
            progress = trainer.run(num_steps, seconds_per_step=own_pace, stop=bool(request.signal))
            own_pace = (time.perf_counter() - begin) / progress.num_steps
            pace = progress.seconds_per_step
            step = trainer.step
            if progress.metrics.unsound:
                raise UserError(_diverged(step, folder))
            last = step == settings.num_steps
            if shown is not None:
                shown.add(progress)
                if last or step % settings.log_every == 0:
                    shown.write(step, trainer.learning_rate)
                if last or progress.stop or step % settings.checkpoint_every == 0:
                    checkpoints.save(step, settings.keep_checkpoints)
                if settings.eval_every and step % settings.eval_every == 0:
                    _show_held_out(scene, renderer, shown, step)
            if progress.stop:
                raise InterruptedRunError(step, request.signal or signal.SIGTERM)


def _steps_per_call(seconds_per_step: float) -> int:
    """How many steps the graph does before the host looks again."""
    if seconds_per_step == 0:
        return 1
    return int(np.clip(_SECONDS_PER_CALL / seconds_per_step, 1, _MOST_STEPS_PER_CALL))


def _steps_until_due(step: int, settings: TrainingSettings) -> int:
    """Steps until the next one after which there is something to do."""
    periods = (settings.log_every, settings.checkpoint_every, settings.eval_every)
    due = [period - step % period for period in periods if period]
    return min(*due, settings.num_steps - step)


def _check_same_step(step: int, strategy: tf.distribute.Strategy) -> None:
    """Raises UserError if the workers restored different checkpoints."""
    steps = strategy.run(lambda: tf.constant(float(step)))
    if float(strategy.reduce("MEAN", steps, axis=None)) != step:
        raise UserError(
            f"step {step} restored here and another on other workers: --output_dir must be a "
            "folder that all of them share"
        )


def _diverged(step: int, folder: RunFolder) -> str:
    saved = list_checkpoints(folder.checkpoints)
    good = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
    return (
        f"step {step}: the loss or a gradient is not finite; {good}. Begin again with another "
        "--experiment and a lower --learning_rate or --learning_rate_warmup_steps=1000"
    )


def _show_held_out(
    scene: Scene, renderer: ImageRenderer, report: TrainingReport, step: int
) -> None:
    """Renders the held-out view in the middle of the split."""
    views = scene.held_out
    if views is None:
        return
    index = len(views) // 2
    image = renderer(views.cameras, index)
    truth = true_colors(scene, views, index)
    report.show(step, "held_out", held_out_sheet(scene, image, truth))


def _measure(config: Config, scene: Scene, renderer: ImageRenderer) -> list[ViewMetrics]:
    """Renders and measures some of the held-out views."""
    if scene.held_out is None or config.training.num_eval_views == 0:
        return []
    indices = spread(len(scene.held_out), config.training.num_eval_views)
    views = scene.held_out.select(indices)
    num_rays = len(views) * views.cameras.height * views.cameras.width
    with tqdm(
        total=num_rays, desc="held-out views", unit="ray", unit_scale=True, disable=None
    ) as bar:
        return measure_views(renderer, scene, views, bar.update)
