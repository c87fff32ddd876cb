"""Checkpoints: saved so that a kill at any moment leaves a good one, restored with a fallback.

Each is a folder `step_<number>` that holds one `tf.train.Checkpoint`. It is written under a name
that begins with a dot, flushed and renamed, so a folder that has the right name is complete.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfnerf.errors import UserError, first_line
from tfnerf.files import flush_folder, make_folder, remove_folder

_log = logging.getLogger(__name__)
_FOLDER_NAME = re.compile(r"step_(\d+)")
_FILE_NAME = "checkpoint"
_LATER = {"restart"}
"""Groups that versions up to 0.2.0 did not save; they stay as they are then."""


Variables = dict[str, Sequence[Any]]
"""Name to the Keras variables saved under it, for example "model" and "optimizer".

They are saved in a flat list, because `tf.train.Checkpoint` silently leaves out layers that a Keras
model keeps in a list.
"""


class Checkpoints:
    """The checkpoints of a run folder.

    Args:
      folder: of all checkpoints; need not exist.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def save(self, step: int, variables: Variables, keep: int) -> Path:
        """Saves the variables and removes all but the newest `keep` checkpoints.

        Raises:
          UserError: the disk is full or the folder cannot be written; the others are still there.
        """
        make_folder(self._folder)
        path = self._folder / f"step_{step:08d}"
        aside = self._folder / f".{path.name}"
        try:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir()
            _checkpoint_of(variables).write(str(aside / _FILE_NAME))
            flush_folder(aside)
            if path.exists():
                remove_folder(path)
            aside.rename(path)
            flush_folder(self._folder)
            # A later one can only be damaged: this run would have begun from it otherwise.
            done = [path for path in list_checkpoints(self._folder) if step_of(path) <= step]
            for old in done[:-keep]:
                remove_folder(old)
        except (OSError, tf.errors.OpError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise UserError(
                f"{path}: the checkpoint cannot be written: {first_line(error)}"
            ) from None
        return path

    def restore_newest(
        self, variables_at: Callable[[int], Variables], *, everything: bool = True
    ) -> int | None:
        """Restores the newest checkpoint that can be read.

        Args:
          variables_at: makes the variables to restore, with the shapes that they have at a step.
          everything: whether these are all that was saved; else some may be left out.

        Returns:
          Its step; None where there are no checkpoints.

        Raises:
          UserError: there are some, and none can be read.
        """
        paths = list_checkpoints(self._folder)
        for path in reversed(paths):
            try:
                _restore(path, variables_at(step_of(path)), everything)
                return step_of(path)
            except UserError as error:
                _log.warning("%s%s", error, "; trying the one before" if path != paths[0] else "")
        if paths:
            raise UserError(f"{self._folder}: none of the {len(paths)} checkpoints can be read")
        return None

    def remove_unfinished(self) -> None:
        """Sweeps what a killed run left under names that begin with a dot."""
        for path in self._folder.glob(".step_*"):
            shutil.rmtree(path, ignore_errors=True)


def _checkpoint_of(variables: Variables) -> tf.train.Checkpoint:
    return tf.train.Checkpoint(
        **{name: [variable.value for variable in group] for name, group in variables.items()}
    )


def _restore(path: Path, variables: Variables, everything: bool) -> None:
    # The variables exist already, so an incomplete file shows here and not on first use.
    # TensorFlow meets damaged files with errors of many kinds, IndexError among them.
    file = str(path / _FILE_NAME)
    try:
        saved = {name.split("/")[0] for name, _ in tf.train.list_variables(file)}
        groups = {name: variables[name] for name in variables.keys() - (_LATER - saved)}
        status = _checkpoint_of(groups).read(file)
        status.assert_existing_objects_matched()
        if everything:
            status.assert_consumed()
        else:
            status.expect_partial()
    except Exception as error:
        raise UserError(f"{path}: damaged checkpoint: {first_line(error)}") from None


def list_checkpoints(folder: Path) -> list[Path]:
    """The complete checkpoints of a folder, oldest first."""
    if not folder.is_dir():
        return []
    return sorted(filter(_is_checkpoint, folder.iterdir()), key=step_of)


def step_of(path: Path) -> int:
    """The step that a checkpoint was saved after."""
    match = _FOLDER_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path} is not a checkpoint")
    return int(match[1])


def _is_checkpoint(path: Path) -> bool:
    return path.is_dir() and _FOLDER_NAME.fullmatch(path.name) is not None
