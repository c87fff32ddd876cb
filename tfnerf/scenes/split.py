"""Holding views out of a capture that comes in one piece."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfnerf.scenes.scene import Views


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
