"""Holding views out of a capture that comes in one piece."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfnerf.errors import UserError
from tfnerf.scenes.scene import Views
from tfnerf.settings import SceneSettings

_log = logging.getLogger(__name__)
LISTS = {split: f"{split}_filenames" for split in ("train", "val", "test")}
"""Keys of transforms files that say which frames belong to a split, by their file_path."""


def split_views(
    views: Views,
    content: dict[str, Any],
    frames: Sequence[dict[str, Any]],
    settings: SceneSettings,
    splits: Sequence[str],
    path: Path,
) -> dict[str, Views]:
    """Splits views as the file of a capture says; where it does not, every Nth is held out.

    Args:
      views: all.
      content: of the file.
      frames: of the views.
      settings: say which are held out otherwise.
      splits: the names wanted.
      path: of the file.

    Raises:
      UserError: the file names views that it does not have.
    """
    listed = {split: _listed(content, frames, key, path) for split, key in LISTS.items()}
    if all(indices is None for indices in listed.values()):
        return hold_out(views, settings.holdout_every, splits)
    _log.info("%s: says itself which views are held out, --holdout_every does nothing", path)
    held_out = [indices for indices in (listed["test"], listed["val"]) if indices is not None]
    others = np.setdiff1d(np.arange(len(views)), np.concatenate([*held_out, []]))
    parts = {
        "train": others if listed["train"] is None else listed["train"],
        "val": held_out[-1] if held_out else others[:0],
        "test": held_out[0] if held_out else others[:0],
    }
    return {split: views.select(parts[split].astype(int)) for split in splits}


def _listed(
    content: dict[str, Any], frames: Sequence[dict[str, Any]], key: str, path: Path
) -> np.ndarray | None:
    """Indices of the frames of a list of names; None where there is no list."""
    names = content.get(key)
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UserError(f"{path}: {key} is {names!r:.40}, expected a list of texts")
    index = {_plain(frame["file_path"]): number for number, frame in enumerate(frames)}
    unknown = [name for name in names if _plain(name) not in index]
    if unknown:
        raise UserError(f"{path}: {key} has {unknown[0]!r:.60}, which is no frame with an image")
    return np.array(sorted({index[_plain(name)] for name in names}), int)


def _plain(name: str) -> str:
    return name.replace("\\", "/").removeprefix("./")


def hold_out(views: Views, every: int, splits: Sequence[str]) -> dict[str, Views]:
    """Splits views: every Nth, from the first on, is for "val" and "test", the rest for "train".

    Args:
      views: all.
      every: N; 0 holds none out.
      splits: the names wanted.
    """
    indices = np.arange(len(views))
    held_out = indices[::every] if every else indices[:0]
    parts = {"train": np.setdiff1d(indices, held_out), "val": held_out, "test": held_out}
    return {split: views.select(parts[split]) for split in splits}
