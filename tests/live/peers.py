"""A server to ask, through stubs of its protocol."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)


class Served(NamedTuple):
    """A server to ask."""

    address: str
    model: str
    prediction: Any
    """Stub of the PredictionService."""
    status: Any
    """Stub of the ModelService."""
    channel: grpc.Channel
    conditions: dict[str, np.ndarray]
    """A row of each condition that the scene has, by its name."""

    def rows(self, num_rows: int) -> dict[str, np.ndarray]:
        """So many of each."""
        return {
            name: np.repeat(row[np.newaxis], num_rows, axis=0)
            for name, row in self.conditions.items()
        }


def connect(address: str, model: str) -> Served:
    options = [("grpc.max_receive_message_length", -1)]
    channel = grpc.insecure_channel(address, options=options)
    prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
    status = model_service_pb2_grpc.ModelServiceStub(channel)
    return Served(address, model, prediction, status, channel, _conditions(prediction, model))


def _conditions(prediction: Any, model: str) -> dict[str, np.ndarray]:
    """Rows in the middle of what the scene was trained with, as it describes itself."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "describe_scene"
    request.inputs["index"].CopyFrom(tf.make_tensor_proto(np.zeros(1, np.int32)))
    answer = prediction.Predict(request, timeout=60)
    scene = json.loads(tf.make_ndarray(answer.outputs["scene"])[0])
    rows = {}
    for name, condition in scene.get("conditions", {}).items():
        middle = (condition["least"] + condition["most"]) / 2
        zeros = np.prod(condition["shape"], dtype=int) - 1
        rows[name] = np.float32([0] * zeros + [middle]).reshape(condition["shape"])
    return rows
