"""The progress bar of renderings."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm


@contextlib.contextmanager
def ray_progress(description: str, num_rays: int) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, nothing elsewhere; log lines go above it.

    Args:
      description: of what is rendered.
      num_rays: to be rendered in all.

    Yields:
      A function to be told of rays done.
    """
    bar = tqdm(
        total=num_rays,
        desc=description,
        unit="ray",
        unit_scale=True,
        dynamic_ncols=True,
        disable=None,
    )
    with bar, logging_redirect_tqdm([logging.getLogger("tfnerf")]):
        yield bar.update
