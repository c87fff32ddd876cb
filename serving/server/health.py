"""grpc.health.v1: whether the server answers, and whether each model does, by its name."""

from __future__ import annotations

from concurrent import futures

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from serving.server.models import Models

_SERVER_NAMES = ("", "tensorflow.serving.PredictionService")


class Health:
    """Tells of health from now on; the server is healthy while any model answers.

    Args:
      models: of the server.
      server: to tell through.
    """

    def __init__(self, models: Models, server: grpc.Server):
        self._models = models
        self._names: set[str] = set()
        # With threads of its own, so that calls which stall do not make it silent.
        pool = futures.ThreadPoolExecutor(2, thread_name_prefix="health")
        self._servicer = health.HealthServicer(experimental_thread_pool=pool)
        health.HealthServicer.Check.experimental_thread_pool = pool
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        models.on_change(self._update)
        self._update()

    def stop(self) -> None:
        """Tells that the server stops."""
        self._servicer.enter_graceful_shutdown()

    def _update(self) -> None:
        models = self._models.all()
        answering = {model.config.name for model in models if model.available}
        # Models that were taken away stay known, as ones that do not answer.
        self._names |= {model.config.name for model in models}
        for name in tuple(self._names):
            self._set(name, name in answering)
        for name in _SERVER_NAMES:
            self._set(name, bool(answering))

    def _set(self, name: str, answers: bool) -> None:
        status = health_pb2.HealthCheckResponse
        self._servicer.set(name, status.SERVING if answers else status.NOT_SERVING)
