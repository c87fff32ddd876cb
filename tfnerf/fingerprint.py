"""Telling whether two things are the same, without keeping both."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def fingerprint(*parts: Any) -> str:
    """A text that is the same for the same parts, and else another.

    Args:
      *parts: numbers, texts, None, arrays, Keras models (their shape and weights), and dataclasses,
        lists, tuples and mappings of such.

    Raises:
      TypeError: anything else, which might differ without showing it.
    """
    digest = hashlib.sha256()
    for part in parts:
        _add(digest, part)
    return digest.hexdigest()


def _add(digest: Any, part: Any) -> None:
    """Adds a part; what stands before each content keeps parts from running into each other."""
    if dataclasses.is_dataclass(part) and not isinstance(part, type):
        fields = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
        _add(digest, (type(part).__name__, fields))
    elif isinstance(part, Mapping):
        _add(digest, [item for key in sorted(part) for item in (key, part[key])])
    elif isinstance(part, (list, tuple)):
        digest.update(f"list {len(part)} ".encode())
        for item in part:
            _add(digest, item)
    elif isinstance(part, (np.ndarray, np.generic)):
        digest.update(f"array {part.dtype} {part.shape} ".encode())
        digest.update(np.ascontiguousarray(part))
    elif hasattr(part, "get_config"):
        _add(digest, [part.get_config(), *(variable.numpy() for variable in part.variables)])
    elif part is None or isinstance(part, (bool, int, float, str)):
        text = repr(part)
        digest.update(f"value {len(text)} {text} ".encode())
    else:
        raise TypeError(f"found a {type(part).__name__}, which has no fingerprint")
