"""Numbered versions of a model in one folder, as TF Serving watches it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from serving.version_folders import list_versions
from tfnerf.errors import UserError
from tfnerf.files import flush_folder, make_folder, remove_folder, sole_writer

_UNFINISHED = ".unfinished"


def next_version(model_base_path: Path) -> int:
    """One more than the newest."""
    versions = list_versions(model_base_path)
    return int(versions[-1].name) + 1 if versions else 1


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
    aside = model_base_path / f".{version}{_UNFINISHED}"
    with sole_writer(make_folder(model_base_path)):
        if final.exists():
            raise UserError(f"--version={version}: found {final}; expected a number that is free")
        for left in model_base_path.glob(f".*{_UNFINISHED}"):
            remove_folder(left)
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


def remove_old_versions(model_base_path: Path, keep: int) -> list[Path]:
    """Removes all but the newest versions, and returns what was removed."""
    old = list_versions(model_base_path)[:-keep]
    for path in old:
        remove_folder(path)
    return old
