"""Requests that are too large, or made to do harm."""

from __future__ import annotations

from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from servers import RAYS, Server, memory_of, request_of, stub_of
from tensorflow_serving.apis import (
    predict_pb2,
)


def test_limits_are_named(server: Server) -> None:
    stub = stub_of(server)
    # More bytes than so many rays take, as if a long code came with each.
    many = {name: np.tile(value, [60_000, 1]) for name, value in RAYS.items()}
    view = {
        "camera_to_world": np.float32(np.eye(3, 4)[None]),
        "focal": np.float32([10]),
        "height": np.int32([3000]),
        "width": np.int32([3000]),
    }
    for request, limit in (
        (request_of(many), "more than the limit --max_rows=100000"),
        (request_of(view, "render_view"), "more than the limit --max_pixels=4194304"),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request, timeout=30)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert limit in caught.value.details()


def malformed(rng: np.random.Generator) -> Any:
    """A request that is wrong in one or several ways; some of them are right by chance."""
    signatures = {
        "serving_default": ("origins", "directions"),
        "query_points": ("points", "viewdirs"),
        "render_view": ("camera_to_world", "focal", "height", "width"),
        "describe_scene": ("index",),
    }
    signature = str(rng.choice([*signatures, "nothing", ""]))
    request = predict_pb2.PredictRequest()
    request.model_spec.name = str(rng.choice(["disc", "disc", "disc", "", "other"]))
    request.model_spec.signature_name = signature
    if rng.random() < 0.1:
        request.model_spec.version.value = int(rng.integers(-5, 5))
    names = signatures.get(signature, ("origins", "directions"))
    for name in names[: rng.integers(0, len(names) + 1) if rng.random() < 0.2 else None]:
        proto = request.inputs[name]
        proto.dtype = int(rng.choice([1, 1, 1, 3, 3, 2, 7, 9, 14, 99]))
        for _ in range(rng.integers(0, 4)):
            size = rng.choice([0, 1, 2, 3, 3, 4, -1, -(2**62), 2**40, 2**62])
            proto.tensor_shape.dim.add(size=int(size))
        if rng.random() < 0.1:
            proto.tensor_shape.unknown_rank = True
        kind = rng.integers(0, 4)
        if kind == 0:
            proto.tensor_content = rng.bytes(int(rng.integers(0, 100)))
        elif kind == 1:
            special = [np.nan, np.inf, -np.inf, 1e38, 0.0]
            proto.float_val.extend(rng.choice(special, rng.integers(0, 10)).tolist())
        elif kind == 2:
            proto.int_val.extend(rng.integers(-(2**31), 2**31 - 1, rng.integers(0, 10)).tolist())
    if rng.random() < 0.1:
        request.inputs["extra"].CopyFrom(tf.make_tensor_proto(1.0))
    if rng.random() < 0.1:
        request.output_filter.extend(["rgb", "rgb", "smell"][: rng.integers(1, 4)])
    data = request.SerializeToString()
    if rng.random() < 0.1:
        cut = int(rng.integers(0, len(data) + 1))
        data = data[:cut] + rng.bytes(int(rng.integers(0, 20)))
    return data


def test_hostile_requests_get_a_status_and_do_no_harm(server: Server) -> None:
    stub = stub_of(server)
    good = stub.Predict(request_of(RAYS), timeout=30).outputs["rgb"].tensor_content
    channel = grpc.insecure_channel(server.address)
    call = channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=lambda data: data,
        response_deserializer=lambda data: data,
    )
    rng = np.random.default_rng(0)
    allowed = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "INTERNAL"}
    codes: dict[str, int] = {}
    before = 0
    for count in range(10_000):
        try:
            call(malformed(rng), timeout=30)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
            # INTERNAL only from gRPC itself, for what is no message at all.
            assert code != "INTERNAL" or "deserializing" in error.details(), error.details()
        codes[code] = codes.get(code, 0) + 1
        if count == 2000:
            before = memory_of(server.process)
        if count % 1000 == 0:
            again = stub.Predict(request_of(RAYS), timeout=30)
            assert again.outputs["rgb"].tensor_content == good
    assert set(codes) <= allowed and codes["INVALID_ARGUMENT"] > 5000, codes
    assert memory_of(server.process) < before + 50_000
