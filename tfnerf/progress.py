"""The progress bar of renderings and meshes."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

_log = logging.getLogger(__name__)
_SECONDS_PER_LINE = 30


@contextlib.contextmanager
def progress_bar(
    description: str, total: int, unit: str = "ray"
) -> Iterator[Callable[[int], object]]:
    """A bar on a terminal, with log lines above it; elsewhere a log line now and then.

    Args:
      description: of what is made.
      total: of the units that it takes.
      unit: what is counted.

    Yields:
      A function to call with the number of units done.
    """
    bar = tqdm(
        total=total,
        desc=description,
        unit=unit,
        unit_scale=True,
        dynamic_ncols=True,
        disable=None,
    )
    last = time.monotonic()
    done = 0

    def update(count: int) -> None:
        nonlocal last, done
        bar.update(count)
        done += count
        if bar.disable and time.monotonic() - last > _SECONDS_PER_LINE:
            last = time.monotonic()
            _log.info("%s: %.0f%% of %d %ss", description, 100 * done / total, total, unit)

    with bar, logging_redirect_tqdm([logging.getLogger("tfnerf")]):
        yield update
