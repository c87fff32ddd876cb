"""Requests that a server runs before it lets a version answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

_NUM_RAYS = 64
_PICTURE_SIZE = 8


def write_warm_up(folder: Path, model_name: str, pose: np.ndarray, focal: float) -> None:
    """Writes a request for each signature where TF Serving looks for them.

    A version whose warm-up fails is not served, so it is also a last check.

    Args:
      folder: of the version.
      model_name: that the requests name.
      pose: [3, 4], a camera_to_world in world coordinates.
      focal: pixels, for a picture of the size of a training image.
    """
    origins = np.tile(pose[:, 3], [_NUM_RAYS, 1])
    directions = np.tile(-pose[:, 2], [_NUM_RAYS, 1])
    requests = {
        "serving_default": {"origins": origins, "directions": directions},
        "render_view": {
            "camera_to_world": pose[np.newaxis],
            "focal": np.array([focal]),
            "height": np.array([_PICTURE_SIZE]),
            "width": np.array([_PICTURE_SIZE]),
        },
        "query_points": {"points": origins + directions, "viewdirs": directions},
        "describe_scene": {"index": np.array([0])},
    }
    path = folder / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, inputs in requests.items():
            log = prediction_log_pb2.PredictionLog(
                predict_log=prediction_log_pb2.PredictLog(
                    request=_request(model_name, signature, inputs)
                )
            )
            writer.write(log.SerializeToString())


def _request(
    model_name: str, signature: str, inputs: dict[str, np.ndarray]
) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model_name
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        dtype = tf.int32 if values.dtype.kind == "i" else tf.float32
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values, dtype))
    return request
