"""tensorflow.serving.PredictionService: Predict and GetModelMetadata, as TF Serving has them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from serving.errors import RequestError, abort, code_of, invalid
from serving.server.admission import Admission
from serving.server.metrics import Metrics
from serving.server.models import Models
from serving.server.servable import DEFAULT_SIGNATURE, Servable
from serving.tensors import fill, to_array

_log = logging.getLogger(__name__)
_METADATA_FIELD = "signature_def"
_CLIENTS_FAULTS = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED)


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a request may ask for."""

    max_rows: int
    """Rays or points."""
    max_pixels: int
    """Of all pictures of a request together."""


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers from whatever versions are loaded.

    Args:
      models: to answer from.
      admission: how many requests run and wait.
      limits: what a request may ask for.
      metrics: where requests are counted.
    """

    def __init__(self, models: Models, admission: Admission, limits: Limits, metrics: Metrics):
        self._models = models
        self._admission = admission
        self._limits = limits
        self._metrics = metrics

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs a signature."""
        with self._answering("Predict", request.model_spec.name, context):
            self._models.find(request.model_spec)  # that it is unknown is no reason to wait
            with (
                self._admission.turn(_seconds_left(context)),
                self._models.serving(request.model_spec) as (number, servable),
            ):
                if not context.is_active():
                    raise RequestError(grpc.StatusCode.CANCELLED, "the client has gone")
                return self._predict(request, number, servable, _seconds_left(context))

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Describes the signatures of a version."""
        with self._answering("GetModelMetadata", request.model_spec.name, context):
            if not request.metadata_field:
                raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
            for field in request.metadata_field:
                if field != _METADATA_FIELD:
                    raise invalid(f"Metadata field {field} is not supported")
            with self._models.serving(request.model_spec) as (number, servable):
                response = get_model_metadata_pb2.GetModelMetadataResponse()
                response.model_spec.name = request.model_spec.name
                response.model_spec.version.value = number
                signatures = get_model_metadata_pb2.SignatureDefMap()
                for name, signature in servable.signatures.items():
                    signatures.signature_def[name].CopyFrom(signature)
                response.metadata[_METADATA_FIELD].Pack(signatures)
                return response

    def _predict(
        self, request: Any, number: int, servable: Servable, seconds_left: float | None
    ) -> Any:
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signatures.get(name)
        if signature is None:
            raise RequestError(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        _check_names(name, request, signature)
        inputs = {
            key: to_array(key, request.inputs[key], spec, self._limits.max_rows)
            for key, spec in signature.inputs.items()
        }
        _check_lengths(inputs)
        self._check_pixels(inputs)
        with self._metrics.running(request.model_spec.name, name):
            outputs = servable.run(name, inputs, tuple(request.output_filter), seconds_left)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = number
        response.model_spec.signature_name = name
        for key, value in outputs.items():
            fill(response.outputs[key], value)
        return response

    def _check_pixels(self, inputs: dict[str, np.ndarray]) -> None:
        """Raises RequestError if pictures are asked for that are too large together."""
        if not {"height", "width"} <= inputs.keys():
            return
        height, width = (inputs[key].astype(float).clip(0) for key in ("height", "width"))
        num_pixels = (height * width).sum()
        if num_pixels > self._limits.max_pixels:
            raise invalid(
                f"found pictures of {num_pixels:.0f} pixels, more than the limit "
                f"--max_pixels={self._limits.max_pixels}"
            )

    @contextlib.contextmanager
    def _answering(self, method: str, model: str, context: grpc.ServicerContext) -> Iterator[None]:
        """Counts the request, and turns what goes wrong into the status of its answer."""
        code, begin = grpc.StatusCode.OK, time.monotonic()
        message = ""
        try:
            with self._metrics.in_progress():
                yield
        except RequestError as error:
            code, message = error.code, error.message
        except tf.errors.OpError as error:
            code, message = code_of(error.error_code), error.message
            if code not in _CLIENTS_FAULTS:
                _log.error("model failed", extra={"model": model, "error": message})
        except Exception as error:
            _log.exception("request failed", extra={"method": method, "model": model})
            code, message = grpc.StatusCode.INTERNAL, str(error)
        finally:
            known = any(model == other.config.name for other in self._models.all())
            seconds = time.monotonic() - begin
            self._metrics.count(method, model if known else "", code.name, seconds)
        if code is not grpc.StatusCode.OK:
            abort(context, code, message)


def _seconds_left(context: grpc.ServicerContext) -> float | None:
    """Until the deadline of a request; None: it has none."""
    seconds = context.time_remaining()
    return seconds if seconds is not None and seconds < threading.TIMEOUT_MAX else None


def _check_lengths(inputs: Mapping[str, np.ndarray]) -> None:
    """Raises RequestError unless all inputs have as many rows."""
    lengths = {name: len(value) for name, value in inputs.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name}: {length}" for name, length in sorted(lengths.items()))
        raise invalid(f"found inputs of different lengths ({found})")


def _check_names(name: str, request: Any, signature: Any) -> None:
    """Raises RequestError, in TF Serving's words, unless inputs and outputs are the signature's."""
    sent, required = set(request.inputs), set(signature.inputs)
    if sent != required:
        raise invalid(
            f"input size does not match signature: {len(sent)}!={len(required)} "
            f"len({_set(sent)}) != len({_set(required)}). Sent extra: {_set(sent - required)}. "
            f"Missing but required: {_set(required - sent)}."
        )
    for alias in request.output_filter:
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in "
                f"the set {_set(signature.outputs)}."
            )
    if len(set(request.output_filter)) < len(request.output_filter):
        raise invalid(f"output_filter names an output of {name} twice")


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
