"""What every server of an exported scene must answer: ours, and a real tensorflow_model_server.

pytest tests/live                                              # starts serving.server
TFNERF_SERVING_ADDRESS=localhost:8500 TFNERF_SERVING_MODEL=lego pytest tests/live
"""

from __future__ import annotations

import io
import json
from typing import Any

import grpc
import imageio.v3 as imageio
import numpy as np
import pytest
import tensorflow as tf
from peers import Served
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, predict_pb2

RAYS = {
    "origins": np.tile(np.float32([0, 0, 4]), [7, 1]),
    "directions": np.float32([[x / 10, 0.1, -1] for x in range(7)]),
}
VIEW = {
    "camera_to_world": np.float32([[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4]]] * 2),
    "focal": np.float32([10, 20]),
    "height": np.int32([6, 9]),
    "width": np.int32([8, 5]),
}


def rays_of(served: Served) -> dict[str, np.ndarray]:
    """Under what the scene depends on."""
    return {**RAYS, **served.rows(7)}


def view_of(served: Served) -> dict[str, np.ndarray]:
    return {**VIEW, **served.rows(2)}


def request_of(served: Served, inputs: dict[str, Any], signature: str = "", **spec: Any) -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = spec.pop("name", served.model)
    request.model_spec.signature_name = signature
    if "version" in spec:
        request.model_spec.version.value = spec.pop("version")
    if "label" in spec:
        request.model_spec.version_label = spec.pop("label")
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def predict(served: Served, inputs: dict[str, Any], signature: str = "", **spec: Any) -> Any:
    return served.prediction.Predict(request_of(served, inputs, signature, **spec), timeout=60)


def outputs_of(response: Any) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}


def refused(served: Served, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        served.prediction.Predict(request, timeout=60)
    # And the next good request is answered.
    assert outputs_of(predict(served, rays_of(served)))["rgb"].shape == (7, 3)
    return caught.value.code(), caught.value.details()


def test_rays_are_rendered(served: Served) -> None:
    response = predict(served, rays_of(served))
    outputs = outputs_of(response)
    shapes = {name: value.shape for name, value in outputs.items()}
    assert shapes == {
        "rgb": (7, 3),
        "depth": (7,),
        "disparity": (7,),
        "opacity": (7,),
        "world_depth": (7,),
    }
    assert all(np.isfinite(value).all() for value in outputs.values())
    assert response.model_spec.name == served.model
    assert response.model_spec.version.value >= 1
    assert response.model_spec.signature_name == "serving_default"
    again = outputs_of(predict(served, rays_of(served), "serving_default"))
    np.testing.assert_array_equal(again["rgb"], outputs["rgb"])


def test_both_encodings_of_inputs_are_read(served: Served) -> None:
    request = request_of(served, {})
    for name, value in rays_of(served).items():
        proto = request.inputs[name]
        proto.dtype = tf.float32.as_datatype_enum
        proto.tensor_shape.CopyFrom(tf.TensorShape(value.shape).as_proto())
        proto.float_val.extend(value.ravel().tolist())
    found = outputs_of(served.prediction.Predict(request, timeout=60))
    np.testing.assert_allclose(
        found["rgb"], outputs_of(predict(served, rays_of(served)))["rgb"], atol=1e-6
    )


def test_many_rays_and_none_are_answered(served: Served) -> None:
    many = {name: np.concatenate([value] * 7_000) for name, value in rays_of(served).items()}
    found = outputs_of(predict(served, many))
    alone = outputs_of(predict(served, rays_of(served)))
    for name, value in alone.items():
        last = found[name][-7:]
        np.testing.assert_allclose(last, value, atol=2e-3)
    empty = {name: value[:0] for name, value in rays_of(served).items()}
    assert outputs_of(predict(served, empty))["rgb"].shape == (0, 3)


def test_views_are_pictures(served: Served) -> None:
    outputs = outputs_of(predict(served, view_of(served), "render_view"))
    for height, width, image, depth in zip((6, 9), (8, 5), outputs["image"], outputs["depth"]):
        assert imageio.imread(io.BytesIO(image)).shape == (height, width, 3)
        assert imageio.imread(io.BytesIO(depth)).dtype == np.uint16


def test_points_and_the_scene_can_be_asked_for(served: Served) -> None:
    points = {"points": RAYS["origins"], "viewdirs": RAYS["directions"], **served.rows(7)}
    outputs = outputs_of(predict(served, points, "query_points"))
    assert outputs["rgb"].shape == (7, 3) and (outputs["density"] >= 0).all()
    texts = outputs_of(predict(served, {"index": np.int32([0, 1])}, "describe_scene"))["scene"]
    assert texts[0] == texts[1]
    scene = json.loads(texts[0])
    assert scene["near"] < scene["far"] and scene["camera_path"]["camera_to_world"]


def test_an_output_filter_is_obeyed(served: Served) -> None:
    request = request_of(served, rays_of(served))
    request.output_filter.extend(["depth"])
    response = served.prediction.Predict(request, timeout=60)
    assert set(response.outputs) == {"depth"}


def test_versions_can_be_named(served: Served) -> None:
    newest = predict(served, rays_of(served)).model_spec.version.value
    assert predict(served, rays_of(served), version=newest).model_spec.version.value == newest


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"name": ""}, "INVALID_ARGUMENT", ""),
        ({"name": "x"}, "NOT_FOUND", "Servable not found for request: Latest(x)"),
        (
            {"name": "x", "version": 7},
            "NOT_FOUND",
            "Servable not found for request: Specific(x, 7)",
        ),
        ({"version": 99999}, "NOT_FOUND", "Servable not found for request: Specific(MODEL, 99999)"),
        ({"label": "nobody"}, "INVALID_ARGUMENT", "nobody"),
        ({"signature": "y"}, "FAILED_PRECONDITION", 'Serving signature key "y" not found.'),
    ],
)
def test_what_is_not_served_is_refused(
    served: Served, spec: dict[str, Any], code: str, message: str
) -> None:
    found, text = refused(served, request_of(served, rays_of(served), **spec))
    assert found.name == code
    assert message.replace("MODEL", served.model) in text


def test_inputs_that_do_not_fit_are_refused(served: Served) -> None:
    code, text = refused(served, request_of(served, {"origins": RAYS["origins"]}))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    missing = ",".join(sorted({"directions", *served.conditions}))
    assert f"input size does not match signature: 1!={2 + len(served.conditions)}" in text
    assert f"Missing but required: {{{missing}}}." in text

    extra = {**rays_of(served), "colour": np.float32([1])}
    code, text = refused(served, request_of(served, extra))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "Sent extra: {colour}." in text

    request = request_of(served, rays_of(served))
    request.output_filter.extend(["smell"])
    code, text = refused(served, request)
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "smell" in text


@pytest.mark.parametrize(
    "change",
    [
        {"origins": np.float64(RAYS["origins"])},
        {"origins": np.int32(RAYS["origins"])},
        {"origins": np.array([["a", "b", "c"]] * 7)},
        {"origins": RAYS["origins"][:, :2]},
        {"origins": RAYS["origins"].ravel()},
        {"origins": RAYS["origins"][None]},
        {"origins": np.float32(1)},
        {"origins": RAYS["origins"][:3]},
    ],
)
def test_wrong_types_and_shapes_are_refused(served: Served, change: dict[str, Any]) -> None:
    code, _ = refused(served, request_of(served, {**rays_of(served), **change}))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_sizes_that_lie_are_refused(served: Served) -> None:
    for shape, content in (
        ([7, 3], b"short"),
        ([1 << 40, 3], b"short"),
        ([-1, 3], b"short"),
        ([7, -3], b"short"),
        ([1 << 31, 1 << 31], b"short"),
    ):
        request = request_of(served, rays_of(served))
        proto = request.inputs["origins"]
        proto.ClearField("tensor_shape")
        for size in shape:
            proto.tensor_shape.dim.add(size=size)
        proto.tensor_content = content
        code, _ = refused(served, request)
        assert code is grpc.StatusCode.INVALID_ARGUMENT, shape


@pytest.mark.parametrize("change", [{"height": [0, 4]}, {"width": [-1, 4]}, {"focal": [0, 1]}])
def test_pictures_that_cannot_be_are_refused(served: Served, change: dict[str, Any]) -> None:
    changed = {name: np.array(value, VIEW[name].dtype) for name, value in change.items()}
    code, text = refused(served, request_of(served, {**view_of(served), **changed}, "render_view"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected height, width and focal above 0" in text


@pytest.mark.parametrize("change", [{"height": [4]}, {"focal": [9, 9, 9]}])
def test_pictures_with_numbers_missing_are_refused(served: Served, change: dict[str, Any]) -> None:
    changed = {name: np.array(value, VIEW[name].dtype) for name, value in change.items()}
    code, _ = refused(served, request_of(served, {**view_of(served), **changed}, "render_view"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_conditions_that_were_not_trained_are_refused(served: Served) -> None:
    for name, row in served.conditions.items():
        for factor in (1e6, np.nan):
            rows = np.repeat(factor * (row + 1)[np.newaxis], 7, axis=0).astype(np.float32)
            code, text = refused(served, request_of(served, {**rays_of(served), name: rows}))
            assert code is grpc.StatusCode.INVALID_ARGUMENT
            assert f"{name}: expected a " in text
        without = {key: value for key, value in rays_of(served).items() if key != name}
        code, text = refused(served, request_of(served, without))
        assert code is grpc.StatusCode.INVALID_ARGUMENT and name in text
    wrong = {name: np.zeros([7, 9], np.float32) for name in served.conditions}
    if wrong:
        code, _ = refused(served, request_of(served, {**RAYS, **wrong}))
        assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_descriptions_are_bounded(served: Served) -> None:
    """Each of them is long, so a small request would have an answer of gigabytes."""
    many = {"index": np.zeros(1001, np.int32)}
    code, text = refused(served, request_of(served, many, "describe_scene"))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected at most 1000 indices" in text


def test_a_long_name_is_refused_like_any_other(served: Served) -> None:
    code, _ = refused(served, request_of(served, rays_of(served), name=20_000 * "x"))
    assert code is grpc.StatusCode.NOT_FOUND


def test_metadata_describes_the_signatures(served: Served) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = served.model
    response = served.prediction.GetModelMetadata(request, timeout=60)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "render_view", "query_points", "describe_scene"} <= set(
        signatures.signature_def
    )
    inputs = signatures.signature_def["serving_default"].inputs
    assert [dimension.size for dimension in inputs["origins"].tensor_shape.dim] == [-1, 3]
    for fields in ([], ["weights"]):
        del request.metadata_field[:]
        request.metadata_field.extend(fields)
        with pytest.raises(grpc.RpcError) as caught:
            served.prediction.GetModelMetadata(request, timeout=60)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_status_of_a_model_is_told(served: Served) -> None:
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = served.model
    statuses = served.status.GetModelStatus(request, timeout=60).model_version_status
    state = get_model_status_pb2.ModelVersionStatus.State
    assert state.AVAILABLE in {status.state for status in statuses}
    request.model_spec.name = "x"
    with pytest.raises(grpc.RpcError) as caught:
        served.status.GetModelStatus(request, timeout=60)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_methods_for_other_models_are_unimplemented_or_refused(served: Served) -> None:
    for method in ("Classify", "Regress", "MultiInference"):
        call = served.channel.unary_unary(
            f"/tensorflow.serving.PredictionService/{method}",
            request_serializer=lambda data: data,
            response_deserializer=lambda data: data,
        )
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=60)
        assert caught.value.code() in (
            grpc.StatusCode.UNIMPLEMENTED,
            grpc.StatusCode.INVALID_ARGUMENT,
        )


def test_garbage_is_refused(served: Served) -> None:
    call = served.channel.unary_unary(
        "/tensorflow.serving.PredictionService/Predict",
        request_serializer=lambda data: data,
        response_deserializer=lambda data: data,
    )
    with pytest.raises(grpc.RpcError) as caught:
        call(b"\xff\xfe garbage", timeout=60)
    assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
    assert outputs_of(predict(served, rays_of(served)))["rgb"].shape == (7, 3)


def test_an_independent_client_gets_the_same_answers(served: Served) -> None:
    from ovmsclient import make_grpc_client

    client = make_grpc_client(served.address)
    version = predict(served, rays_of(served)).model_spec.version.value
    found = client.predict(rays_of(served), served.model, version, timeout=60)
    expected = outputs_of(predict(served, rays_of(served)))
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)
    status = client.get_model_status(served.model, version, timeout=60)
    assert status[version]["state"] == "AVAILABLE"
    metadata = client.get_model_metadata(served.model, version, timeout=60)
    assert set(metadata["inputs"]) == {*RAYS, *served.conditions}
