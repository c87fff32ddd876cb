"""Versions that come and go while clients ask."""

from __future__ import annotations

import shutil
import threading
from concurrent import futures
from pathlib import Path

import grpc
import imageio.v3 as imageio
import numpy as np
import pytest
from commands import finish, start, wait_until
from google.protobuf import text_format
from servers import RAYS, Serve, Server, health_of, publish, request_of, requests_of, stub_of
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
)

from serving.client.channel import ServerError
from serving.client.rendering import RenderClient
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.paths import orbit_path


def test_new_versions_are_swapped_in_under_load_and_bad_ones_never(
    server: Server, base_path: Path, version: Path
) -> None:
    """10,000 requests while 5 versions come, one corrupt and one cut off."""
    stub, request = stub_of(server), request_of(RAYS)
    answers: list[int] = []
    published = threading.Event()

    def ask() -> None:
        while len(answers) < 10_000 or not published.is_set():
            answers.append(stub.Predict(request, timeout=30).model_spec.version.value)

    def failed() -> set[int]:
        return {line["version"] for line in server.lines if "cannot be" in line["message"]}

    def swap() -> None:
        for number in (2, 3, 4, 5, 6):
            aside = base_path / f".{number}"
            shutil.copytree(version, aside)
            data = aside / "variables" / "variables.data-00000-of-00001"
            if number == 3:
                (aside / "saved_model.pb").write_bytes(b"corrupt")
            if number == 5:
                data.write_bytes(data.read_bytes()[:100])
            aside.rename(base_path / str(number))
            if number in (3, 5):
                wait_until(lambda n=number: n in failed())
            else:
                wait_until(lambda n=number: n in answers[-1:])

    with futures.ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            swap()
        finally:
            published.set()
        for future in asking:
            future.result()
    assert len(answers) >= 10_000
    assert set(answers) == {1, 2, 4, 6}
    # Four threads append, so neighbours may be out of order by as many.
    newest = np.maximum.accumulate(answers)
    late = np.flatnonzero(np.array(answers) < newest)
    assert all(answers[i] >= newest[max(0, i - 8)] for i in late)
    assert failed() == {3, 5}


def test_a_swap_does_not_tear_a_picture(
    server: Server, base_path: Path, version: Path, other_version: Path
) -> None:
    cameras = Cameras.pinhole(orbit_path(1), 400, 600, 700.0)
    counts: list[int] = []
    with (
        RenderClient([server.address], "disc", rows_per_request=2000) as client,
        RenderClient([server.address], "disc") as onlooker,
    ):
        first = client.render(cameras, 0)

        def newest() -> int:
            """The newest version that answers."""
            return max(v.version for v in onlooker.status() if v.state == "AVAILABLE")

        def swap(num_rays: int) -> None:
            if not counts:
                publish(other_version, base_path, 2)
                wait_until(lambda: newest() == 2)
            counts.append(num_rays)

        during = client.render(cameras, 0, swap)
        second = client.render(cameras, 0)
    assert (first.version, second.version) == (1, 2)
    assert np.abs(first.rgb - second.rgb).max() > 0.1
    np.testing.assert_array_equal(during.rgb, {1: first, 2: second}[during.version].rgb)
    assert sum(counts) == 400 * 600
    assert during.version == 1 or min(counts) < 0


def test_a_video_is_of_one_version(
    serve: Serve, base_path: Path, other_version: Path, tmp_path: Path
) -> None:
    """Another version may be of another scene, with other cameras."""
    server = serve("--model_name=disc", f"--model_base_path={base_path}", "--metrics_port=0")
    path = tmp_path / "path.mp4"
    arguments = [f"--server={server.address}", "--model_name=disc", f"--output={path}"]
    client = start("serving.client", "path", *arguments, "--num_frames=60", "--resolution_factor=8")
    wait_until(lambda: requests_of(server).get("OK", 0) > 5)
    publish(other_version, base_path, 2)
    output = finish(client)
    assert "begins again, as version 1 is gone" in output
    assert "60 frames of 128 x 96 pixels, version 2" in output
    with RenderClient([server.address], "disc") as asking:
        cameras = asking.camera_path().resized(8)
        first = asking.render(cameras, 0, version=2)
        with pytest.raises(ServerError, match=r"NOT_FOUND: .*Specific\(disc, 1\)"):
            asking.render(cameras, 0, version=1)
    frames = imageio.imread(path)
    assert np.abs(frames[0] / 255 - first.rgb).mean() < 0.02
    server.stop()


def test_servers_with_different_versions_make_whole_pictures(
    serve: Serve,
    base_path: Path,
    version: Path,
    other_version: Path,
    tmp_path: Path,
) -> None:
    """As while a new version reaches one server after the other."""
    newer = tmp_path / "newer"
    newer.mkdir()
    publish(other_version, newer, 2)
    servers = [serve("--model_name=disc", f"--model_base_path={p}") for p in (base_path, newer)]
    cameras = Cameras.pinhole(orbit_path(1), 100, 200, 200.0)
    expected = {}
    for number, server in enumerate(servers, 1):
        with RenderClient([server.address], "disc") as client:
            expected[number] = client.render(cameras, 0).rgb
    addresses = [server.address for server in servers]
    with RenderClient(addresses, "disc", rows_per_request=1000) as client:
        for _ in range(5):
            view = client.render(cameras, 0)
            np.testing.assert_array_equal(view.rgb, expected[view.version])
    for server in servers:
        server.stop()


def test_several_models_and_a_reload(
    serve: Serve, base_path: Path, version: Path, tmp_path: Path
) -> None:
    other = tmp_path / "models" / "other"
    other.mkdir()
    for number in (3, 5, 7):
        publish(version, other, number)
    config = tmp_path / "models.config"
    config.write_text(
        f'model_config_list {{ config {{ name: "disc" base_path: "{base_path}" }} config {{ '
        f'name: "other" base_path: "{other}" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 3 versions: 5 } } "
        'version_labels { key: "stable" value: 3 } } }'
    )
    server = serve(f"--model_config_file={config}")
    try:
        stub = stub_of(server)
        assert (
            stub.Predict(request_of(RAYS, name="other"), timeout=30).model_spec.version.value == 5
        )
        channel = grpc.insecure_channel(server.address)
        assert health_of(channel, "disc") == "SERVING"
        labelled = request_of(RAYS, name="other")
        labelled.model_spec.version_label = "stable"
        assert stub.Predict(labelled, timeout=30).model_spec.version.value == 3

        models = model_service_pb2_grpc.ModelServiceStub(channel)
        reload = model_management_pb2.ReloadConfigRequest()
        only_other = f'model_config_list {{ config {{ name: "other" base_path: "{other}" }} }}'
        text_format.Parse(only_other, reload.config)
        models.HandleReloadConfigRequest(reload, timeout=60)
        assert (
            stub.Predict(request_of(RAYS, name="other"), timeout=30).model_spec.version.value == 7
        )
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request_of(RAYS), timeout=30)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert health_of(channel, "disc") == "NOT_SERVING"
        assert health_of(channel, "other") == health_of(channel) == "SERVING"
        status = get_model_status_pb2.GetModelStatusRequest()
        status.model_spec.name = "other"

        def states() -> list[tuple[int, str]]:
            found = models.GetModelStatus(status, timeout=30).model_version_status
            name = get_model_status_pb2.ModelVersionStatus.State.Name
            return [(each.version, name(each.state)) for each in found]

        wait_until(lambda: states() == [(7, "AVAILABLE"), (5, "END"), (3, "END")])
    finally:
        server.stop()
