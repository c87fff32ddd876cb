"""The progress bar of renderings and meshes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm


@contextlib.contextmanager
def progress_bar(
    description: str, total: int, unit: str = "ray"
) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, nothing elsewhere; log lines go above it.

    Args:
      description: of what is made.
      total: of the units that it takes.
      unit: what is counted.

    Yields:
      A function to be told of units done.
    """
    bar = tqdm(
        total=total,
        desc=description,
        unit=unit,
        unit_scale=True,
        dynamic_ncols=True,
        disable=None,
    )
    with bar, logging_redirect_tqdm([logging.getLogger("tfnerf")]):
        yield bar.update
