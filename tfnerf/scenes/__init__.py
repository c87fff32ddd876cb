"""Scenes: one module a format, each of which reads it into the same `Scene`."""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path

from tfnerf.errors import UserError
from tfnerf.formats import detect_dataset
from tfnerf.scenes.scene import Scene, Views, some_pixels, spread, to_colors, true_colors
from tfnerf.settings import SceneSettings

__all__ = [
    "Scene",
    "Views",
    "load_scene",
    "some_pixels",
    "spread",
    "to_colors",
    "true_colors",
]

_log = logging.getLogger(__name__)


def load_scene(settings: SceneSettings, splits: Sequence[str] = ("train", "test")) -> Scene:
    """Reads a scene.

    Args:
      settings: which one, and how.
      splits: the views wanted, of "train", "val", "test".

    Raises:
      UserError: something in the files is missing or wrong.
    """
    if settings.dataset == "auto":
        settings = dataclasses.replace(settings, dataset=detect_dataset(Path(settings.data_dir)))
    if settings.dataset != "builtin" and not settings.data_dir:
        raise UserError(f"--data_dir: not given, and --dataset={settings.dataset} needs it")
    module = importlib.import_module(f"tfnerf.scenes.{settings.dataset}")
    scene: Scene = module.load(settings, splits)
    _warn_of_hidden_colors(scene, settings)
    near = scene.near if settings.near is None else settings.near
    far = scene.far if settings.far is None else settings.far
    return dataclasses.replace(scene, near=near, far=far)


def _warn_of_hidden_colors(scene: Scene, settings: SceneSettings) -> None:
    """What cut objects out often leaves colours where nothing is to be seen."""
    if settings.white_background:
        return
    for views in scene.splits.values():
        for image in views.images if views.images.shape[-1] == 4 else ():
            if image[image[..., 3] == 0, :3].any():
                _log.warning(
                    "%s: transparent pixels have colours, and these are trained on, because alpha "
                    "is dropped: --white_background shows white there",
                    settings.data_dir,
                )
                return
