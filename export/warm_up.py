"""Requests that a server runs before it lets a version answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from export.signatures import scene_signatures
from tfnerf.scenes import Scene

_NUM_RAYS = 64
_PICTURE_SIZE = 8


def write_warm_up(
    folder: Path, model_name: str, scene: Scene, description: Mapping[str, Any]
) -> None:
    """Writes a request for each signature where TF Serving looks for them.

    A version whose warm-up fails is not served, so it is also a last check.

    Args:
      folder: of the version.
      model_name: that the requests name.
      scene: that is served.
      description: what describe_scene answers.
    """
    pose = np.array(description["camera_path"]["camera_to_world"][0])  # [3, 4]
    origins = np.tile(pose[:, 3], [_NUM_RAYS, 1])
    directions = np.tile(-pose[:, 2], [_NUM_RAYS, 1])
    values = {
        "origins": origins,
        "directions": directions,
        "points": origins + directions,
        "viewdirs": directions,
        "camera_to_world": pose[np.newaxis],
        "focal": [description["focal"]],
        "height": [_PICTURE_SIZE],
        "width": [_PICTURE_SIZE],
        "index": [0],
    }
    first_view = scene.train.cameras[:1].conditions or {}
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature in scene_signatures(scene.conditions).values():
            num_rows = len(values[signature.inputs[0].name])
            conditions = {name: np.repeat(rows, num_rows, 0) for name, rows in first_view.items()}
            inputs = signature.requests({**values, **conditions})
            request = _request(model_name, signature.name, inputs)
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(request=request)
            )
            writer.write(log.SerializeToString())


def _request(
    model_name: str, signature: str, inputs: dict[str, np.ndarray]
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request
