"""What a server counts, for Prometheus."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from serving.server.models import Models


class Metrics:
    """Counters of requests, and the versions that are loaded."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        labels = ("method", "model")
        self._requests = Counter(
            "tfnerf_requests",
            "Requests by their status.",
            (*labels, "code"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "tfnerf_request_seconds", "Time to answer.", labels, registry=self._registry
        )
        self._in_progress = Gauge(
            "tfnerf_requests_in_progress", "Requests that wait or run.", registry=self._registry
        )
        self._run_seconds = Histogram(
            "tfnerf_run_seconds",
            "Time that the model ran, without waiting and without the wire.",
            ("model", "signature"),
            registry=self._registry,
        )
        self._versions = Gauge(
            "tfnerf_newest_version",
            "Newest version that answers.",
            ("model",),
            registry=self._registry,
        )

    def count(self, method: str, model: str, code: str, seconds: float) -> None:
        """A request that was answered; `model` is empty if it is not known."""
        self._requests.labels(method, model, code).inc()
        self._seconds.labels(method, model).observe(seconds)

    def in_progress(self) -> contextlib.AbstractContextManager[None]:
        """Counts a request while it waits or runs."""
        return self._in_progress.track_inprogress()

    @contextlib.contextmanager
    def running(self, model: str, signature: str) -> Iterator[None]:
        """Measures a run of a model."""
        with self._run_seconds.labels(model, signature).time():
            yield

    def watch(self, models: Models) -> None:
        """Keeps count of versions from now on."""

        def update() -> None:
            self._versions.clear()
            for model in models.all():
                self._versions.labels(model.config.name).set(max(model.available, default=0))

        models.on_change(update)
        update()

    def serve(self, host: str, port: int) -> int:
        """Answers http://host:port/metrics in a thread.

        Args:
          host: address to listen on.
          port: to listen on; 0: any that is free.

        Returns:
          The port.
        """
        server, _ = start_http_server(port, host, registry=self._registry)
        return int(server.server_port)
