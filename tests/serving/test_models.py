"""Which versions of which models are served."""

from __future__ import annotations

import shutil
import threading
from concurrent import futures
from pathlib import Path

import grpc
import pytest
import tensorflow as tf
from commands import ROOT, wait_until
from google.protobuf import text_format
from servers import RAYS, Serve, publish, request_of, stub_of
from tensorflow_serving.apis import (
    model_management_pb2,
    model_service_pb2_grpc,
    prediction_log_pb2,
)

from serving.server.models import Model, ModelConfig, Models
from serving.server.models_config import read_models_config
from serving.server.servable import Servable
from tfnerf.errors import UserError


def test_the_shipped_models_config_is_read() -> None:
    path = ROOT / "serving" / "deploy" / "models.config"
    assert read_models_config(path) == [ModelConfig("demo", Path("/models/demo"))]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "no models.config"),
        ("", "expected a model_config_list"),
        ('model_config_list { config { name: "a" } }', "expected a name and a base_path"),
        (
            'model_config_list { config { name: "a" base_path: "/x" } config { name: "a" '
            'base_path: "/y" } }',
            "found a model twice",
        ),
        (
            'model_config_list { config { name: "a" base_path: "/x" '
            "model_version_policy { specific {} } } }",
            "a: specific names no versions",
        ),
    ],
)
def test_configs_that_cannot_be_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_models_config(path)


def test_a_version_whose_warm_up_fails_is_not_served(base_path: Path, version: Path) -> None:
    model = Model(ModelConfig("disc", base_path))
    model.update()
    assert model.available == [1]
    aside = base_path / ".2"
    shutil.copytree(version, aside)
    with tf.io.TFRecordWriter(str(aside / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(prediction_log_pb2.PredictionLog().SerializeToString())
    aside.rename(base_path / "2")
    model.update()
    assert model.available == [1]
    assert "found a request of kind None, expected predict_log" in model.statuses()[0][2]
    (base_path / "2" / "assets.extra" / "tf_serving_warmup_requests").unlink()
    model.update()  # it has changed, so it is tried again
    assert model.available == [2]
    shutil.rmtree(base_path / "2")
    shutil.rmtree(base_path / "1")
    model.update()  # nothing takes its place
    assert model.available == [2]
    model.close()


def test_a_version_that_was_let_go_of_comes_back(base_path: Path, version: Path) -> None:
    """The way back from a bad version is to remove its folder, or to ask for another one."""
    model = Model(ModelConfig("disc", base_path))
    model.update()
    publish(version, base_path, 2)
    model.update()
    assert model.available == [2]
    shutil.rmtree(base_path / "2")
    wait_until(lambda: model.wait_until_closed(0))
    model.update()
    assert model.available == [1]
    publish(version, base_path, 2)
    model.update()
    wait_until(lambda: model.wait_until_closed(0))
    model.config = ModelConfig("disc", base_path, specific=(1,))
    model.update()
    assert model.available == [1]
    model.close()


def test_a_start_beside_a_bad_version_serves_the_one_before(base_path: Path, version: Path) -> None:
    for number in (2, 3):
        publish(version, base_path, number)
    (base_path / "3" / "saved_model.pb").write_bytes(b"corrupt")
    model = Model(ModelConfig("disc", base_path))
    model.update()
    assert model.available == [2]
    assert [number for number, _, error in model.statuses() if error] == [3]
    model.close()


def test_a_version_that_failed_is_tried_again(
    base_path: Path, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was wrong may have been the machine."""
    working = Servable.warm_up
    monkeypatch.setattr(Servable, "warm_up", lambda _: 1 / 0)
    model = Model(ModelConfig("disc", base_path))
    model.update()
    assert model.statuses()[0][2] == "ZeroDivisionError: division by zero"
    monkeypatch.setattr(Servable, "warm_up", working)
    model.update()
    assert model.available == []  # not at once
    monkeypatch.setattr("serving.server.models._RETRY_SECONDS", 0)
    model.update()
    assert model.available == [1]
    model.close()


def test_a_reload_takes_nothing_away_before_it_has_something_better(
    serve: Serve, base_path: Path, version: Path, tmp_path: Path
) -> None:
    server = serve("--model_name=disc", f"--model_base_path={base_path}")
    models = model_service_pb2_grpc.ModelServiceStub(grpc.insecure_channel(server.address))

    def reload(config: str) -> None:
        request = model_management_pb2.ReloadConfigRequest()
        text_format.Parse(f"model_config_list {{ {config} }}", request.config)
        models.HandleReloadConfigRequest(request, timeout=60)

    def config_of(folder: Path) -> str:
        return f'config {{ name: "disc" base_path: "{folder}" }}'

    empty, copy = base_path.parent / "empty", base_path.parent / "copy"
    empty.mkdir()
    copy.mkdir()
    publish(version, copy, 4)
    answers: list[int] = []
    stub, moved = stub_of(server), threading.Event()

    def ask() -> None:
        while not moved.is_set():
            answers.append(stub.Predict(request_of(RAYS), timeout=30).model_spec.version.value)

    with futures.ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        for wrong, code, message in (
            ("", "INVALID_ARGUMENT", "expected at least one model"),
            (config_of(empty), "INVALID_ARGUMENT", "disc: found no version that loads in"),
            (config_of(tmp_path / "elsewhere"), "PERMISSION_DENIED", "is outside of"),
            (config_of(Path("/etc")), "PERMISSION_DENIED", "is outside of"),
            (config_of(base_path.parent / ("x" * 300)), "INVALID_ARGUMENT", "File name too long"),
        ):
            with pytest.raises(grpc.RpcError) as caught:
                reload(wrong)
            assert caught.value.code().name == code
            assert message in caught.value.details()
        reload(config_of(copy))
        wait_until(lambda: answers[-1:] == [4] or asking.done())
        moved.set()
        asking.result()
    assert answers == sorted(answers)
    assert server.stop() == 0


def test_a_reload_to_a_forbidden_folder_loads_nothing(
    base_path: Path, version: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = base_path.parent / "copy"
    copy.mkdir()
    publish(version, copy, 1)
    models = Models([ModelConfig("disc", base_path)], poll_seconds=60)
    models.update()
    caplog.set_level("INFO", "serving.server.models")
    with pytest.raises(PermissionError, match="outside of"):
        models.reconfigure([ModelConfig("copy", copy), ModelConfig("etc", Path("/etc"))])
    assert "version loaded" not in caplog.text
    models.reconfigure([ModelConfig("copy", copy)])
    assert "version loaded" in caplog.text
    assert models.stop(10)


def test_stopping_does_not_wait_for_what_is_being_loaded(base_path: Path) -> None:
    models = Models([ModelConfig("disc", base_path)], poll_seconds=0.01)
    models.start()
    with models._updating:  # as while a version is loaded
        assert not models.stop(0.1)
    assert models.stop(10)
