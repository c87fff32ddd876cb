"""Writing files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tfnerf.errors import UserError


def write_file(path: Path, content: bytes | str) -> None:
    """Writes a file beside its place, flushes it to the disk and renames it.

    Raises:
      UserError: it cannot be written; what was at `path` is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            with open(aside, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}") from None


def make_folder(path: Path) -> Path:
    """Makes a folder and those above it; UserError if that fails."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{path}: the folder cannot be made: {error.strerror}") from None
    return path


def flush_folder(path: Path) -> None:
    """Flushes the files of a folder, and the folder itself, to the disk."""
    for entry in [*path.iterdir(), path]:
        descriptor = os.open(entry, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def remove_folder(path: Path) -> None:
    """Removes a folder; it disappears at once, however long its files take."""
    aside = path.with_name(f".{path.name}.removed")
    os.replace(path, aside)
    shutil.rmtree(aside)
