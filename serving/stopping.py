"""How what serves is told to stop."""

from __future__ import annotations

import signal
import threading

_CHECK_SECONDS = 0.2


class StopSignal:
    """SIGTERM or SIGINT, remembered from now on."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._arrived.set())

    def wait(self) -> None:
        """Returns when one has come; for the main thread."""
        # The kernel may hand a signal to a thread of TensorFlow or gRPC. That does not wake the
        # main thread, which alone runs Python's handlers, so it has to wake by itself.
        while not self._arrived.wait(_CHECK_SECONDS):
            pass
