"""Which folders are versions of a model, as TF Serving sees it."""

from __future__ import annotations

from pathlib import Path

MAX_VERSION = (1 << 63) - 1
"""What a ModelSpec has room for."""


def list_versions(model_base_path: Path) -> list[Path]:
    """The versions in a folder, oldest first; names that are no 64-bit integers are passed over."""
    if not model_base_path.is_dir():
        return []
    found = [path for path in model_base_path.iterdir() if path.is_dir() and _is_version(path.name)]
    return sorted(found, key=lambda path: int(path.name))


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdecimal() and int(name) <= MAX_VERSION
