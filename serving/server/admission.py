"""How many requests may run and wait at once; whoever comes beyond that is sent away at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import grpc

from serving.errors import RequestError


class Admission:
    """A bounded queue in front of a bounded number of requests that run.

    Args:
      max_running: at once.
      max_waiting: for their turn.
    """

    def __init__(self, max_running: int, max_waiting: int):
        self._running = threading.Semaphore(max_running)
        self._places = threading.Semaphore(max_running + max_waiting)
        self._text = f"the queue is full: {max_running} requests run and {max_waiting} wait"

    @contextlib.contextmanager
    def turn(self, seconds_left: float | None) -> Iterator[None]:
        """Waits for a turn to run.

        Args:
          seconds_left: until the request's deadline; None: it has none.

        Raises:
          RequestError: the queue is full, or the deadline passed while waiting.
        """
        if not self._places.acquire(blocking=False):
            raise RequestError(grpc.StatusCode.UNAVAILABLE, self._text)
        try:
            if not self._running.acquire(timeout=seconds_left):
                raise RequestError(
                    grpc.StatusCode.DEADLINE_EXCEEDED, "the deadline passed in the queue"
                )
            try:
                yield
            finally:
                self._running.release()
        finally:
            self._places.release()
