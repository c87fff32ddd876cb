"""Scenes: one module a format, each of which reads it into the same `Scene`."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence

from tfnerf.errors import UserError
from tfnerf.scenes.scene import Scene, Views, to_colors
from tfnerf.settings import SceneSettings

__all__ = ["Scene", "Views", "load_scene", "to_colors"]


def load_scene(settings: SceneSettings, splits: Sequence[str] = ("train", "test")) -> Scene:
    """Reads a scene.

    Args:
      settings: which one, and how.
      splits: the views wanted, of "train", "val", "test".

    Raises:
      UserError: something in the files is missing or wrong.
    """
    if settings.dataset != "builtin" and not settings.data_dir:
        raise UserError(f"--data_dir: not given, and --dataset={settings.dataset} needs it")
    module = importlib.import_module(f"tfnerf.scenes.{settings.dataset}")
    scene: Scene = module.load(settings, splits)
    near = scene.near if settings.near is None else settings.near
    far = scene.far if settings.far is None else settings.far
    return dataclasses.replace(scene, near=near, far=far)
