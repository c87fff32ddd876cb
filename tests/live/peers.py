"""A server to ask, through stubs of its protocol."""

from __future__ import annotations

from typing import Any, NamedTuple

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc


class Served(NamedTuple):
    """A server to ask."""

    address: str
    model: str
    prediction: Any
    """Stub of the PredictionService."""
    status: Any
    """Stub of the ModelService."""
    channel: grpc.Channel


def connect(address: str, model: str) -> Served:
    options = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(address, options=options)
    return Served(
        address,
        model,
        prediction_service_pb2_grpc.PredictionServiceStub(channel),
        model_service_pb2_grpc.ModelServiceStub(channel),
        channel,
    )
