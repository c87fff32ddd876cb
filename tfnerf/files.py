"""Writing files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

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


def to_json(content: Any, indent: int | None = None) -> str:
    """Content as JSON, which knows no infinity: the PSNR of a perfect picture is null."""
    return json.dumps(_finite(content), indent=indent)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


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
