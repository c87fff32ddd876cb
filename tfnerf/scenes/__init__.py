"""Scenes: one module a format, each of which reads it into the same `Scene`."""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

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
_WHITE = 0.97
"""Of 1, from which on a channel counts as white."""
_MOST = 0.95
"""Of the pixels along the edges of images."""


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
    if not settings.white_background:
        _warn_of_hidden_colors(scene, settings)
        _warn_of_white_edges(scene, settings)
    settings.require_depths_of(ndc=scene.ndc is not None)
    near = scene.near if settings.near is None else settings.near
    far = scene.far if settings.far is None else settings.far
    return dataclasses.replace(scene, near=near, far=far)


def _warn_of_hidden_colors(scene: Scene, settings: SceneSettings) -> None:
    """What cut objects out often leaves colours where nothing is to be seen."""
    for views in scene.splits.values():
        for image in views.images if views.images.shape[-1] == 4 else ():
            if image[image[..., 3] == 0, :3].any():
                _log.warning(
                    "%s: transparent pixels have colours, and these are trained on, because alpha "
                    "is dropped: --white_background shows white there",
                    settings.data_dir,
                )
                return


def _warn_of_white_edges(scene: Scene, settings: SceneSettings) -> None:
    """What stands before white is learned with white around it, where nothing can be."""
    views = scene.splits.get("train") or scene.held_out
    if views is None or not views.has_images:
        return
    rows, columns = views.images[:, [0, -1]], views.images[:, :, [0, -1]]
    channels = views.images.shape[-1]
    edges = np.concatenate([rows.reshape([-1, channels]), columns.reshape([-1, channels])])
    # What is transparent there is not white, whatever its colour.
    if (edges >= _WHITE * views.white_level).all(-1).mean() > _MOST:
        _log.warning(
            "%s: the edges of the images are white: if the scene stands before nothing but white, "
            "it is learned far better with --white_background",
            settings.data_dir,
        )
