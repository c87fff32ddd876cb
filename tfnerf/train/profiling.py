"""A TensorBoard profile of some steps."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType

import tensorflow as tf

_log = logging.getLogger(__name__)


class StepProfile:
    """Records what the devices do from one step to another; a context manager.

    Args:
      folder: of event files, where TensorBoard finds it.
      steps: how many steps are done when it begins and when it ends; None: no profile.
    """

    def __init__(self, folder: Path, steps: tuple[int, int] | None):
        self._folder = folder
        self._steps = steps
        self._running = False

    def __enter__(self) -> StepProfile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def at(self, step: int) -> None:
        """Begins or ends if it is time, between two calls into the graph.

        Args:
          step: steps done.
        """
        if self._steps is None:
            return
        first, last = self._steps
        if first <= step < last and not self._running:
            tf.profiler.experimental.start(str(self._folder))
            self._running = True
        elif step >= last:
            self._stop()

    def _stop(self) -> None:
        if self._running:
            self._running = False
            tf.profiler.experimental.stop()
            _log.info("profile: tensorboard --logdir=%s", self._folder)
