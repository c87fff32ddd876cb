"""Predict of one or several servers for any number of rows: in chunks, several at a time."""

from __future__ import annotations

import collections
import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.client.channel import ServerError
from serving.tensors import fill

_IN_FLIGHT = 4
_MAX_RESENDS = 4
"""Of a chunk to a server that does not have the version; another one may."""
_FIRST_PAUSE, _MAX_PAUSE = 0.1, 2.0
"""Seconds before everything is asked for again."""


class PredictionClient:
    """Asks for the signatures of a model.

    Args:
      channel: to the servers.
      model_name: of the model.
      version: of it; None: the newest.
      seconds: that a request may take.
      rows_per_request: most of them.
      patient: to wait for a server that is gone to come back, as long as a request may take.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        model_name: str,
        *,
        version: int | None,
        seconds: float,
        rows_per_request: int,
        patient: bool,
    ):
        self._ask = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict
        self._terms = {"timeout": seconds, "wait_for_ready": patient}
        self._model_name = model_name
        self._version = version
        self._seconds = seconds
        self._rows_per_request = rows_per_request

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        progress: Callable[[int], object] | None = None,
        version: int | None = None,
    ) -> tuple[dict[str, np.ndarray], int]:
        """Runs a signature on rows [N, ...], and returns what version answered.

        All chunks are answered by the version that answered the first, so that a new version
        cannot tear a picture. If no server has it any more, everything is asked for again, unless
        it has to be this `version`.

        Args:
          signature: its name.
          inputs: [N, ...] each, of the dtypes that the signature has.
          progress: called with the number of rows done; a negative one takes back what is asked for
            again.
          version: that has to answer; None: the client's.

        Raises:
          grpc.RpcError: the answer is an error, or there is none.
          ServerError: the answer is not what the signature promises.
        """
        parts = self._ask_for_all(signature, inputs, progress, version)
        outputs = {
            name: np.concatenate(
                [_decode(part.outputs[name], num_rows) for part, num_rows in parts]
            )
            for name in parts[0][0].outputs
        }
        return outputs, parts[0][0].model_spec.version.value

    def _ask_for_all(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        progress: Callable[[int], object] | None,
        version: int | None,
    ) -> list[tuple[Any, int]]:
        """As `_answers`, from one version; begins again if that is released."""
        give_up, pause = math.inf, _FIRST_PAUSE
        while True:
            parts: list[tuple[Any, int]] = []
            try:
                for response, num_rows in self._answers(signature, inputs, version):
                    parts.append((response, num_rows))
                    if progress is not None:
                        progress(num_rows)
                return parts
            except grpc.RpcError as error:
                give_up = min(give_up, time.monotonic() + self._seconds)
                again = parts and version is None and self._is_gone(error)
                if not again or time.monotonic() >= give_up:
                    raise
            if progress is not None:
                progress(-sum(num_rows for _, num_rows in parts))
            time.sleep(pause)
            pause = min(2 * pause, _MAX_PAUSE)

    def _is_gone(self, error: grpc.RpcError) -> bool:
        """Whether the version of the first answer is not there any more."""
        return error.code() is grpc.StatusCode.NOT_FOUND and self._version is None

    def _answers(
        self, signature: str, inputs: Mapping[str, np.ndarray], version: int | None
    ) -> Iterator[tuple[Any, int]]:
        """The responses to all chunks, in order, and how many rows each is about."""
        most = self._rows_per_request
        num_rows = len(next(iter(inputs.values())))
        starts = range(0, max(1, num_rows), most)
        pinned = version is not None
        version = version or self._version

        def request(start: int) -> predict_pb2.PredictRequest:
            chunk = {name: values[start : start + most] for name, values in inputs.items()}
            return self._request(signature, chunk, version)

        # Alone, since it tells the version; and not as a future, which would take a thread.
        response = self._response(request(0), None, pinned)
        version = response.model_spec.version.value
        yield response, min(most, num_rows)
        waiting: collections.deque[tuple[int, Any, grpc.Future]] = collections.deque()
        try:
            for start in starts[1:]:
                chunk = request(start)
                waiting.append((start, chunk, self._ask.future(chunk, **self._terms)))
                while waiting and (len(waiting) == _IN_FLIGHT or start == starts[-1]):
                    first, chunk, future = waiting.popleft()
                    yield self._response(chunk, future, pinned=True), min(most, num_rows - first)
        finally:
            for *_, future in waiting:
                future.cancel()

    def _request(
        self, signature: str, inputs: Mapping[str, np.ndarray], version: int | None
    ) -> predict_pb2.PredictRequest:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = self._model_name
        request.model_spec.signature_name = signature
        if version is not None:
            request.model_spec.version.value = version
        for name, values in inputs.items():
            fill(request.inputs[name], values)
        return request

    def _response(
        self, request: predict_pb2.PredictRequest, future: grpc.Future | None, pinned: bool
    ) -> predict_pb2.PredictResponse:
        """The response to a chunk, from a server that does have the version if there is one.

        Args:
          request: of the chunk.
          future: its response, if it has been asked for already.
          pinned: whether it has to be the version of the request.
        """
        for _ in range(_MAX_RESENDS):
            try:
                return future.result() if future else self._ask(request, **self._terms)
            except grpc.RpcError as error:
                if not (pinned and self._is_gone(error)):
                    raise
            future = None
        return self._ask(request, **self._terms)


def _decode(proto: Any, num_rows: int) -> np.ndarray:
    """A tensor [num_rows, ...] in either of its encodings, without a loop over its values."""
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    if not shape or shape[0] != num_rows or min(shape) < 0:
        raise ServerError(f"found an output of shape {shape} for {num_rows} rows")
    try:
        if proto.dtype == tf.string.as_datatype_enum:
            return np.array(proto.string_val, object).reshape(shape)
        if proto.dtype == tf.float32.as_datatype_enum:
            return np.frombuffer(_float_bytes(proto), "<f4").reshape(shape)
    except ValueError:
        raise ServerError(f"found an output of other size than its shape {shape}") from None
    raise ServerError(f"found an output of dtype {proto.dtype}, expected float32 or string")


def _float_bytes(proto: Any) -> bytes:
    if content := proto.tensor_content:  # once: each look at it copies it
        return bytes(content)
    # They are the last field and packed, so the serialized message ends with them.
    message = proto.SerializeToString()
    return bytes(message[len(message) - 4 * len(proto.float_val) :])
