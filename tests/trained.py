"""Run folders with a checkpoint, made without training."""

from __future__ import annotations

from pathlib import Path

import keras
from small import small_config

from tfnerf.fields.model import NeRF, make_model
from tfnerf.flags import to_flagfile
from tfnerf.runs.checkpoints import Checkpoints
from tfnerf.settings import Config

STEP = 7


def make_run(folder: Path, config: Config | None = None, model: NeRF | None = None) -> Path:
    """A run folder as training leaves it; new networks unless some are given."""
    config = config or small_config(white_background=True)
    keras.utils.set_random_seed(3)
    model = model or make_model(config, step=STEP)
    folder.mkdir(parents=True)
    (folder / "flags.txt").write_text(to_flagfile(config))
    save(folder, model, STEP)
    return folder


def save(folder: Path, model: NeRF, step: int) -> None:
    variables = {"model": model.variables, "optimizer": []}
    Checkpoints(folder / "checkpoints").save(step, variables, keep=3)
