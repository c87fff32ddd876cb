"""From a run folder to a version that servers find."""

from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from export.check import check_version, render_in_process
from export.scene_description import describe_scene
from export.served_scene import ServedScene, stored
from export.versions import new_version, next_version
from export.warm_up import write_warm_up
from tfnerf.errors import UserError, first_line
from tfnerf.evaluate.grid_cost import measure_cost
from tfnerf.evaluate.metrics import psnr_of
from tfnerf.fields.model import NeRF, make_model
from tfnerf.runs.trained import TrainedRun
from tfnerf.scenes import Scene, some_pixels
from tfnerf.settings import RenderSettings
from tfnerf.volume.scene_renderer import SceneRenderer

_log = logging.getLogger("tfnerf.export")
DTYPES = {"float32": tf.float32, "bfloat16": tf.bfloat16, "float16": tf.float16}
_NUM_RAYS = 2048
"""Rays that an export is compared on."""


class Export(NamedTuple):
    """A version, and what it costs in quality."""

    path: Path
    psnr: float | None
    """dB, of some pixels of the views that were held out (of training views where none were); None
    without photographs."""
    psnr_in_training: float | None
    """The same with the weights and the sampling of the run."""
    on_held_out: bool
    """Whether any views were held out."""


def export(
    run: TrainedRun,
    model_base_path: Path,
    model_name: str,
    *,
    version: int | None = None,
    num_coarse_samples: int | None = None,
    num_fine_samples: int | None = None,
    dtype: str = "float32",
) -> Export:
    """Writes a version, checks it, and lets it appear.

    Args:
      run: the trained run.
      model_base_path: folder of versions.
      model_name: that warm-up requests name.
      version: its number; None: the next that is free.
      num_coarse_samples: fewer are faster; None: as in training.
      num_fine_samples: the same.
      dtype: that weights are stored in, one of DTYPES.

    Raises:
      UserError: the version is there, it cannot be written, or it does not answer as it should.
    """
    scene = _scene(run)
    settings = _settings(run.config.rendering, num_coarse_samples, num_fine_samples)
    renderer = SceneRenderer.of(scene, _as_served(run, settings, DTYPES[dtype]), settings)
    held_out = None if scene.held_out is None else scene.known_views(scene.held_out)
    views = held_out or scene.train
    cost = measure_cost(run, scene, views)
    description = describe_scene(run, scene, settings, dtype, cost)
    served = ServedScene(renderer, scene, settings, DTYPES[dtype], json.dumps(description))
    rays, truth = some_pixels(scene, views, _NUM_RAYS)
    version = next_version(model_base_path) if version is None else version
    with new_version(model_base_path, version) as folder:
        try:
            tf.saved_model.save(served, str(folder), signatures=served.signatures())
            write_warm_up(folder, model_name, scene, description)
        except tf.errors.OpError as error:
            raise UserError(f"{folder}: cannot be written: {first_line(error)}") from None
        check_version(folder, renderer, scene, rays)
    after, before = (
        None if truth is None else _psnr(render_in_process(each, scene, rays)["rgb"], truth)
        for each in (renderer, run.renderer(scene))
    )
    return Export(model_base_path / str(version), after, before, on_held_out=views is held_out)


def _scene(run: TrainedRun) -> Scene:
    """That of a run, without photographs where these are not there any more."""
    folder = run.config.scene.data_dir
    if folder and not Path(folder).exists() and run.folder.scene.is_file():
        _log.warning("%s: not there any more, so quality is not measured", folder)
        return run.scene_without_images()
    return run.scene()


def _settings(
    settings: RenderSettings, num_coarse_samples: int | None, num_fine_samples: int | None
) -> RenderSettings:
    """As in training, with other numbers of samples where they are given."""
    if num_coarse_samples is not None:
        settings = dataclasses.replace(settings, num_coarse_samples=num_coarse_samples)
    if num_fine_samples is not None:
        settings = dataclasses.replace(settings, num_fine_samples=num_fine_samples)
    return settings


def _as_served(run: TrainedRun, settings: RenderSettings, dtype: tf.DType) -> NeRF:
    """The networks with weights as they will be stored, computing in float32."""
    model = make_model(run.config.replaced(mixed_precision=False), step=run.step)
    # The codes of images come last and are left out: requests hold them.
    for variable, trained in zip(model.variables, run.model.variables):
        variable.assign(tf.cast(stored(trained.value, dtype), variable.dtype))
    # Without fine samples only the coarse network is asked.
    return model if settings.num_fine_samples else NeRF(model.coarse)


def _psnr(rgb: np.ndarray, truth: np.ndarray) -> float:
    return psnr_of(float(np.mean((np.clip(rgb, 0, 1) - truth) ** 2)))
