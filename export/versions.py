"""Numbered versions of a model in one folder, as TF Serving watches it."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from serving.version_folders import MAX_VERSION, list_versions
from tfnerf.errors import UserError
from tfnerf.files import (
    REMOVED,
    UNFINISHED,
    flush_folder,
    make_folder,
    remove_folder,
    sole_writer,
)

_ASIDE = rf"\.\d+{re.escape(UNFINISHED)}"
_LEFT_BEHIND = re.compile(rf"{_ASIDE}|\.(\d+|{_ASIDE}){re.escape(REMOVED)}")
"""Names of folders that were being written or removed when their process was killed."""


def next_version(model_base_path: Path) -> int:
    """One more than the newest; UserError if servers know no such number."""
    versions = list_versions(model_base_path)
    number = int(versions[-1].name) + 1 if versions else 1
    if number > MAX_VERSION:
        raise UserError(f"{versions[-1]}: found the greatest number, expected a smaller one")
    return number


@contextlib.contextmanager
def new_version(model_base_path: Path, version: int) -> Iterator[Path]:
    """A folder to write a version into, that appears under its number when all went well.

    Until then it has a name that begins with a dot, which servers pass over. What an export that
    was killed left behind is removed.

    Raises:
      UserError: the version is there already, the folder cannot be written, or another process is
        writing to it.
    """
    final = model_base_path / str(version)
    aside = model_base_path / f".{version}{UNFINISHED}"
    with sole_writer(make_folder(model_base_path)):
        if final.exists():
            raise UserError(f"--version={version}: found {final}; expected a number that is free")
        for path in model_base_path.iterdir():
            if _LEFT_BEHIND.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        try:
            aside.mkdir()
            yield aside
            for folder in [path for path in aside.rglob("*") if path.is_dir()] + [aside]:
                flush_folder(folder)
            aside.rename(final)
            flush_folder(model_base_path)
        except OSError as error:
            raise UserError(f"{final}: cannot be written: {error.strerror}") from None
        finally:
            if aside.exists():
                remove_folder(aside)


def remove_old_versions(model_base_path: Path, keep: int, but: Path) -> list[Path]:
    """Removes all but the newest versions.

    Args:
      model_base_path: the folder of versions.
      keep: how many to keep.
      but: a version to keep besides.

    Returns:
      What was removed.

    Raises:
      UserError: one cannot be removed, or another process is writing to the folder.
    """
    old = [path for path in list_versions(model_base_path)[:-keep] if path != but]
    with sole_writer(model_base_path):
        for path in old:
            try:
                remove_folder(path)
            except OSError as error:
                raise UserError(f"{path}: cannot be removed: {error.strerror}") from None
    return old
