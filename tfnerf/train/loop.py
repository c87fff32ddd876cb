"""A training run from its first step, or from its newest checkpoint, to its last."""

from __future__ import annotations

import contextlib
import logging
import signal
import time
import zlib
from types import FrameType

import numpy as np
import tensorflow as tf

from tfnerf.errors import UserError, first_line
from tfnerf.evaluate.quality import ViewQuality, held_out_sheet, measure_views
from tfnerf.fields.model import NeRF
from tfnerf.progress import progress_bar
from tfnerf.runs.appearance import with_codes
from tfnerf.runs.checkpoints import Checkpoints, Variables, list_checkpoints
from tfnerf.runs.folder import RunFolder
from tfnerf.scenes import Scene, spread, true_colors
from tfnerf.settings import Config
from tfnerf.train.distribution import is_chief
from tfnerf.train.grid_picture import grid_sheet
from tfnerf.train.optimizer import GroupedAdam
from tfnerf.train.profiling import StepProfile
from tfnerf.train.report import TrainingReport
from tfnerf.train.trainer import Trainer
from tfnerf.volume.image_renderer import ImageRenderer

_log = logging.getLogger(__name__)
_SECONDS_PER_CALL = 1.0
"""How long a call into the graph may take: until then nothing is shown and no signal answered."""
_MAX_STEPS_PER_CALL = 100


class InterruptedRunError(Exception):
    """The run was asked to stop, and has saved a checkpoint."""

    def __init__(self, step: int, number: int):
        super().__init__(f"stopped after step {step}; run the same command again to resume")
        self.exit_status = 128 + number


class _AskedToStopError(Exception):
    """Breaks off a rendering."""


class StopRequest:
    """Remembers SIGTERM or SIGINT, so that a run stops between steps; a context manager.

    A second signal does at once what it does elsewhere.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> StopRequest:
        self._before = {
            number: signal.signal(number, self._remember)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def train(
    config: Config, scene: Scene, folder: RunFolder, strategy: tf.distribute.Strategy
) -> list[ViewQuality]:
    """Trains, from the newest checkpoint of the folder on if there is one.

    Returns:
      How close held-out views come at the end; empty where there are none.

    Raises:
      UserError: the settings do not fit the scene, the disk is full, no checkpoint can be read,
        another worker is gone, or the loss is not finite.
      InterruptedRunError: by SIGTERM or SIGINT.
    """
    try:
        run = TrainingRun(config, scene, folder, strategy)
        run.train()
        return run.measure()
    except (tf.errors.UnavailableError, tf.errors.AbortedError) as error:
        raise UserError(
            "another worker is gone; start all of them again to go on from the newest checkpoint "
            f"({first_line(error)})"
        ) from None


class TrainingRun:
    """A trainer, its checkpoints and what it shows. Only the chief worker writes."""

    def __init__(
        self, config: Config, scene: Scene, folder: RunFolder, strategy: tf.distribute.Strategy
    ):
        self._config = config
        self._settings = config.training
        self._scene = scene
        self._folder = folder
        self._strategy = strategy
        self._chief = is_chief(strategy)
        self._checkpoints = Checkpoints(folder.checkpoints)
        self._trainer = self._begun_or_resumed()
        self.graph_seconds = 0.0
        """Spent inside the graph; the rest of `train` is the host's."""
        self._renderer = self._image_renderer()
        self._saved_at = time.monotonic()

    def _image_renderer(self) -> ImageRenderer:
        return ImageRenderer(self._trainer.renderer, self._config.rendering, self._strategy)

    def _begun_or_resumed(self) -> Trainer:
        """A trainer at the newest checkpoint, or at step 0 where there is none."""
        if self._chief:
            self._checkpoints.remove_unfinished()
        trainer: Trainer | None = None

        def variables_at(step: int) -> Variables:
            nonlocal trainer
            trainer = Trainer(self._scene, self._config, self._strategy, step=step)
            return variables_of(trainer.model, trainer.optimizer)

        restored = self._checkpoints.restore_newest(variables_at)
        if trainer is None:
            trainer = Trainer(self._scene, self._config, self._strategy)
        _check_same("step restored", trainer.step, self._strategy)
        _check_same("flags (as a checksum)", _checksum(self._config), self._strategy)
        if restored is not None:
            _log.info("resuming after step %d", restored)
        if self._chief:
            self._folder.drop_metrics_after(trainer.step)
        return trainer

    def train(self) -> None:
        """Some steps in the graph, then whatever is due, until the last step is done."""
        own_pace = pace = 0.0
        with StopRequest() as request, self._report() as report, self._profile() as profile:
            while (step := self._trainer.step) < self._settings.num_steps:
                profile.at(step)
                num_steps = min(_steps_per_call(pace), _steps_until_due(step, self._config))
                begin = time.perf_counter()
                progress = self._trainer.run(
                    num_steps, seconds_per_step=own_pace, stop=bool(request.signal)
                )
                seconds = time.perf_counter() - begin
                self.graph_seconds += seconds
                own_pace = seconds / progress.num_steps
                pace = progress.seconds_per_step
                if progress.statistics.not_finite:
                    raise UserError(_diverged(self._trainer.step, self._folder))
                if self._trainer.refines_now:
                    self._refine(report)
                if report is not None:
                    report.add(progress, seconds)
                    self._write_what_is_due(report, progress.stop)
                    if self._picture_is_due() and not progress.stop:
                        self._show_held_out(report, request)
                if progress.stop:
                    raise InterruptedRunError(self._trainer.step, request.signal or signal.SIGTERM)
            if request.signal:
                raise InterruptedRunError(self._trainer.step, request.signal)

    def _refine(self, report: TrainingReport | None) -> None:
        """Goes on with a finer field in a smaller box."""
        self._trainer = self._trainer.refined()
        self._renderer = self._image_renderer()
        grid = self._trainer.model.grid
        if report is not None and grid is not None:
            report.show(self._trainer.step, "grid", grid_sheet(grid))

    def _report(self) -> contextlib.AbstractContextManager[TrainingReport | None]:
        if not self._chief:
            return contextlib.nullcontext()
        return TrainingReport(self._folder, self._trainer.step, self._settings.num_steps)

    def _profile(self) -> StepProfile:
        steps = self._settings.profiled_steps if self._chief else None
        return StepProfile(self._folder.tensorboard, steps)

    def _write_what_is_due(self, report: TrainingReport, stop: bool) -> None:
        step, settings = self._trainer.step, self._settings
        last = step == settings.num_steps
        if last or step % settings.log_every == 0:
            report.write(step, self._trainer.learning_rate, self._trainer.extent)
        minutes = (time.monotonic() - self._saved_at) / 60
        late = settings.checkpoint_minutes and minutes >= settings.checkpoint_minutes
        if last or stop or late or step % settings.checkpoint_every == 0:
            variables = variables_of(self._trainer.model, self._trainer.optimizer)
            self._checkpoints.save(step, variables, settings.keep_checkpoints)
            self._saved_at = time.monotonic()

    def _picture_is_due(self) -> bool:
        period = self._settings.eval_every
        return period > 0 and self._trainer.step % period == 0 and self._scene.held_out is not None

    def _show_held_out(self, report: TrainingReport, request: StopRequest) -> None:
        """Renders the held-out view in the middle of the split, unless asked to stop meanwhile."""
        scene = with_codes(self._scene, self._trainer.model)
        views = scene.held_out
        assert views is not None

        def watch(num_rays: int) -> None:
            if request.signal:
                raise _AskedToStopError

        index = len(views) // 2
        try:
            image = self._renderer(views.cameras, index, watch)
        except _AskedToStopError:
            return
        truth = true_colors(scene, views, index)
        sheet = held_out_sheet(scene, image, truth)
        report.show(self._trainer.step, "held_out", sheet)

    def measure(self) -> list[ViewQuality]:
        """Renders and measures some of the held-out views; only on the chief."""
        scene = with_codes(self._scene, self._trainer.model)
        held_out = scene.held_out
        if not self._chief or held_out is None or self._settings.num_eval_views == 0:
            return []
        views = held_out.select(spread(len(held_out), self._settings.num_eval_views))
        num_rays = len(views) * views.cameras.height * views.cameras.width
        with progress_bar("held-out views", num_rays) as progress:
            measured = measure_views(self._renderer, scene, views, progress)
        self._folder.append_metrics(
            {
                "step": self._trainer.step,
                "held_out_views": len(measured),
                "held_out_psnr": float(np.mean([view.exact.psnr for view in measured])),
                "held_out_ssim": float(np.mean([view.exact.ssim for view in measured])),
            }
        )
        return measured


def variables_of(model: NeRF, optimizer: GroupedAdam) -> Variables:
    """What a checkpoint holds."""
    return {
        "model": model.variables,
        "optimizer": optimizer.variables,
        "restart": [optimizer.restart],
    }


def _steps_per_call(seconds_per_step: float) -> int:
    """How many steps the graph does before the host looks again."""
    if seconds_per_step == 0:
        return 1
    return int(np.clip(_SECONDS_PER_CALL / seconds_per_step, 1, _MAX_STEPS_PER_CALL))


def _steps_until_due(step: int, config: Config) -> int:
    """Steps until the next one after which there is something to do."""
    settings = config.training
    periods = (settings.log_every, settings.checkpoint_every, settings.eval_every)
    due = [period - step % period for period in periods if period]
    changes = (*config.refined_at, *(settings.profiled_steps or ()))
    due += [change - step for change in changes if change > step]
    return min(*due, settings.num_steps - step)


def _checksum(config: Config) -> int:
    """Of what all workers must have alike; each may have the scene in a folder of its own."""
    alike = config.replaced(data_dir="")
    text = repr((alike.scene, alike.network, alike.rendering, alike.training))
    return zlib.crc32(text.encode())


def _check_same(what: str, value: int, strategy: tf.distribute.Strategy) -> None:
    """Raises UserError, on some worker at least, if the workers have different values.

    Each byte is summed by itself, as a float32 has no room for sums of whole numbers of 32 bits.
    """
    digits = np.array(list(value.to_bytes(8, "little")), np.float32)
    values = strategy.run(lambda: tf.constant(digits))
    sums = strategy.reduce("SUM", values, axis=None).numpy()
    if (sums != strategy.num_replicas_in_sync * digits).any():
        raise UserError(
            f"{what}: found {value} here and another value on another worker; give all of them "
            "the same flags, and an --output_dir that they share"
        )


def _diverged(step: int, folder: RunFolder) -> str:
    saved = list_checkpoints(folder.checkpoints)
    good = f"the last good checkpoint is {saved[-1]}" if saved else "there is no checkpoint yet"
    return (
        f"step {step}: the loss or a gradient is not finite; {good}. Restart with another "
        "--experiment and a lower --learning_rate or --learning_rate_warmup_steps=1000"
    )
