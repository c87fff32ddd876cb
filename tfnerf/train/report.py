"""What a training run shows: progress bar, metrics.jsonl, TensorBoard, warnings."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from operator import add
from pathlib import Path
from types import TracebackType

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from tfnerf.errors import UserError, first_line
from tfnerf.evaluate.metrics import psnr_of
from tfnerf.images import write_png
from tfnerf.runs.folder import RunFolder
from tfnerf.train.trainer import BatchStatistics, Progress

_log = logging.getLogger(__name__)
_COLLAPSE_CONTRAST = 1e-4
"""Mean squared difference from the background below which a picture is blank."""
_COLLAPSE_BLANK_ERROR = 1e-3
"""Mean squared error that makes a blank picture wrong."""
_COLLAPSE_PATIENCE = 500
"""Steps before a blank picture is a reason to worry."""


class TrainingReport:
    """Shows how a run goes; a context manager.

    Args:
      folder: of the run.
      step: the run starts from.
      num_steps: it ends at.

    Raises:
      UserError: curves cannot be written into the folder.
    """

    def __init__(self, folder: RunFolder, step: int, num_steps: int):
        self._folder = folder
        self._sums: BatchStatistics | None = None
        self._num_steps = 0
        self._num_rays = 0
        self._seconds = 0.0
        self._warned = False
        self._extent: Mapping[str, float] = {}
        with _written_into(folder.tensorboard):
            self._writer = tf.summary.create_file_writer(str(folder.tensorboard))
        self._bar = tqdm(
            total=num_steps, initial=step, unit="step", disable=None, dynamic_ncols=True
        )

    def __enter__(self) -> TrainingReport:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.close()
        self._writer.close()

    def add(self, progress: Progress, seconds: float) -> None:
        """Counts what a call of the trainer did.

        Args:
          progress: what it returned.
          seconds: how long it took.
        """
        sums = progress.statistics
        self._sums = sums if self._sums is None else tf.nest.map_structure(add, self._sums, sums)
        self._num_steps += progress.num_steps
        self._num_rays += progress.num_rays
        self._seconds += seconds
        mean = _divided(sums, progress.num_steps)
        rate = progress.num_rays / seconds
        quality = f"loss {mean.loss:.4f}, PSNR {psnr_of(mean.losses['final']):.2f} dB"
        extent = _extent_text(mean.live_rays, self._extent)
        self._bar.set_postfix_str(f"{quality}, {rate:.0f} rays/s{extent}", refresh=False)
        self._bar.update(progress.num_steps)

    def write(self, step: int, learning_rate: float, extent: Mapping[str, float]) -> None:
        """Writes the average of the steps since the last call.

        Args:
          step: the last of them.
          learning_rate: of the next step.
          extent: how fine the field is and how much is occupied; see `Trainer.extent`.
        """
        self._extent = extent
        if self._sums is None:
            return
        mean = _divided(self._sums, self._num_steps)
        values = {
            "loss": mean.loss,
            "psnr": psnr_of(mean.losses["final"]),
            "learning_rate": learning_rate,
            "rays_per_second": self._num_rays / self._seconds,
            "seconds_per_step": self._seconds / self._num_steps,
        }
        if "coarse" in mean.losses:
            values["psnr_coarse"] = psnr_of(mean.losses["coarse"])
        values |= {
            f"loss_{name}": value
            for name, value in mean.losses.items()
            if name not in ("final", "coarse")
        }
        if extent:
            values |= {"live_rays": mean.live_rays, **extent}
        self._folder.append_metrics({"step": step, **values})
        with self._tensorboard(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        if self._bar.disable:
            left = values["seconds_per_step"] * (self._bar.total - step)
            _log.info(
                "step %d of %d: loss %.4f, PSNR %.2f dB, %.0f rays/s%s, %s left",
                step,
                self._bar.total,
                values["loss"],
                values["psnr"],
                values["rays_per_second"],
                _extent_text(mean.live_rays, extent),
                tqdm.format_interval(left),
            )
        self._warn_of_collapse(step, mean)
        self._sums = None
        self._num_steps = 0
        self._num_rays = 0
        self._seconds = 0.0

    def show(self, step: int, name: str, sheet: np.ndarray) -> None:
        """Puts a picture [H, W, 3] uint8 into TensorBoard and into the folder."""
        with self._tensorboard(step):
            tf.summary.image(name, sheet[np.newaxis])
        write_png(self._folder.renders / f"{name}_{step:08d}.png", sheet)

    @contextlib.contextmanager
    def _tensorboard(self, step: int) -> Iterator[None]:
        with _written_into(self._folder.tensorboard):
            with self._writer.as_default(step):
                yield
            self._writer.flush()

    def _warn_of_collapse(self, step: int, mean: BatchStatistics) -> None:
        blank = mean.contrast < _COLLAPSE_CONTRAST
        wrong = mean.blank_error > _COLLAPSE_BLANK_ERROR
        if self._warned or step < _COLLAPSE_PATIENCE or not (blank and wrong):
            return
        self._warned = True
        _log.warning(
            "step %d: every ray shows the background (PSNR %.1f dB): the networks have collapsed "
            "and will not recover. Stop, and restart with another --experiment and one of: "
            "another --seed; --batching=one_image --center_crop_steps=500; "
            "--learning_rate_warmup_steps=1000; --density_noise_std=1; a lower --learning_rate",
            step,
            psnr_of(mean.losses["final"]),
        )


@contextlib.contextmanager
def _written_into(folder: Path) -> Iterator[None]:
    """Turns what TensorFlow says of a folder that cannot be written into a UserError."""
    try:
        yield
    except tf.errors.OpError as error:
        raise UserError(f"{folder}: cannot be written: {first_line(error)}") from None


def _divided(sums: BatchStatistics, count: int) -> BatchStatistics:
    """The mean of statistics that were summed over so many steps."""
    mean: BatchStatistics = tf.nest.map_structure(lambda value: value / count, sums)
    return mean


def _extent_text(live_rays: float, extent: Mapping[str, float]) -> str:
    """What a line of progress says of the grid; nothing without one."""
    if not extent:
        return ""
    resolution, occupied = extent["resolution"], extent["occupied_share"]
    return f", {live_rays:.0f} live a step, {resolution:.0f} cells a side, {occupied:.0%} occupied"
