"""Writing files so that a reader, or a crash, never meets half of one."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfnerf.errors import UserError

UNFINISHED, REMOVED = ".unfinished", ".removed"
"""How names end of what is being written or removed; they begin with a dot."""
_COMMENT_OR_TEXT = re.compile(r'"(?:\\.|[^"\\])*(?:"|\Z)|//[^\n]*|/\*.*?(?:\*/|\Z)', re.DOTALL)
"""Also where its end is missing, or each beginning would be followed through the whole file."""


def with_home(path: str) -> Path:
    """A path with a home folder for ~, which shells leave behind `=`; UserError for nobody's."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{path}: {error}") from None


def absolute(path: str) -> Path:
    """The same, absolute."""
    # Not resolve(): a link should be free to point elsewhere tomorrow.
    return Path(os.path.abspath(with_home(path)))  # noqa: PTH100


def write_file(path: Path, content: bytes | str) -> None:
    """Writes a file beside its place, flushes it to the disk and renames it.

    Raises:
      UserError: it cannot be written; what was at `path` is still there.
    """
    data = content.encode() if isinstance(content, str) else content
    aside = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
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


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; it may begin with a byte order mark and have comments."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(_COMMENT_OR_TEXT.sub(_without_comment, text))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: found a JSON {type(content).__name__}, expected an object")
    return content


def _without_comment(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith('"') else " "


def to_json(content: Any, indent: int | None = None) -> str:
    """Content as JSON, which knows no infinity: the PSNR of a perfect picture is null."""
    return json.dumps(_finite(content), indent=indent)


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def require_folder(path: Path) -> Path:
    """The folder, or UserError if there is none."""
    try:
        found = path.is_dir()
    except OSError as error:
        raise UserError(f"{path}: not readable: {error.strerror}") from None
    if not found:
        raise UserError(f"{path}: no such folder")
    return path


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
    """Removes a folder, or a link to one; it disappears at once, however long its files take."""
    if path.is_symlink():
        path.unlink()
        return
    aside = path.with_name(f".{path.name}{REMOVED}")
    shutil.rmtree(aside, ignore_errors=True)  # of a removal that was killed
    os.replace(path, aside)
    shutil.rmtree(aside)


def remove_unfinished_files(folder: Path) -> None:
    """Removes what `write_file` left below a folder when it was killed."""
    for path in folder.rglob(f".*{UNFINISHED}"):
        if path.is_file() and path.stem.rpartition(".")[2].isdigit():
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Keeps others that ask for it out of a folder.

    Raises:
      UserError: another process is writing to it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{path}: another process is writing to it") from None
    finally:
        os.close(descriptor)
