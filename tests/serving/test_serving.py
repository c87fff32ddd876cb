"""serving.server and its client: real processes, swaps, kills, overload, hostile requests."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import imageio.v3 as imageio
import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, finish, run, run_all, start, wait_until
from google.protobuf import text_format
from grpc_health.v1 import health_pb2, health_pb2_grpc
from small import RENDERING, small_renderer, small_scene
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from export.served_scene import ServedScene
from export.warm_up import write_warm_up
from serving.client.channel import ServerError
from serving.client.prediction import _decode
from serving.client.rendering import RenderClient
from serving.errors import RequestError
from serving.server.admission import Admission
from serving.server.models import Model, ModelConfig, Models
from serving.server.models_config import read_models_config
from serving.server.servable import Servable
from tfnerf.errors import UserError
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.paths import orbit_path
from tfnerf.geometry.poses import to_4x4

RAYS = {
    "origins": np.tile(np.float32([0, 0, 4]), [7, 1]),
    "directions": np.float32([[x / 10, 0.1, -1] for x in range(7)]),
}
SCENE = {
    "pixel_centers": True,
    "width": 16,
    "height": 12,
    "focal": 24.0,
    "camera_path": {"name": "orbit", "camera_to_world": orbit_path(4).tolist()},
}


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a small scene, to be copied into the folders of models."""
    return make_version(tmp_path_factory.mktemp("version") / "1", seed=1)


def make_version(folder: Path, seed: int) -> Path:
    keras.utils.set_random_seed(seed)
    scene = small_scene()
    renderer = small_renderer(scene)
    renderer.model.set_weights([3 * weight for weight in renderer.model.get_weights()])
    served = ServedScene(renderer, scene, RENDERING, tf.float32, json.dumps(SCENE))
    tf.saved_model.save(served, str(folder), signatures=served.signatures())
    description = {"camera_path": {"camera_to_world": orbit_path(4)}, "focal": 24.0}
    write_warm_up(folder, "disc", scene, description)
    return folder


def publish(version: Path, base_path: Path, number: int) -> Path:
    """Puts a copy in place as an exporter does: whole, or not there."""
    aside = base_path / f".{number}"
    shutil.copytree(version, aside)
    aside.rename(base_path / str(number))
    return base_path / str(number)


class Server:
    """A serving.server in a process of its own."""

    def __init__(self, *arguments: str, port: int = 0):
        self.process = start("serving.server", *arguments, f"--port={port}", "--poll_seconds=0.1")
        self.lines: list[dict[str, Any]] = []
        for line in self.process.stdout:  # type: ignore[union-attr]
            self.lines.append(self._parse(line))
            if self.lines[-1]["message"] == "serving":
                break
        else:
            raise AssertionError(self.lines)
        self.address = self.lines[-1]["address"]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:  # type: ignore[union-attr]
            self.lines.append(self._parse(line))

    def _parse(self, line: str) -> dict[str, Any]:
        return json.loads(line) if line.startswith("{") else {"message": line}

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        status = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return status


@pytest.fixture
def base_path(tmp_path: Path, version: Path) -> Path:
    folder = tmp_path / "models" / "disc"
    folder.mkdir(parents=True)
    publish(version, folder, 1)
    return folder


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, which end with the test whatever happens."""
    started: list[Server] = []

    def start_one(*arguments: str, port: int = 0) -> Server:
        started.append(Server(*arguments, port=port))
        return started[-1]

    yield start_one
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def server(serve: Serve, base_path: Path) -> Server:
    return serve("--model_name=disc", f"--model_base_path={base_path}", "--max_rows=100000")


def stub_of(server: Server) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server.address))


def health_of(channel: grpc.Channel, service: str = "") -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def request_of(inputs: dict[str, np.ndarray], signature: str = "", name: str = "disc") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def memory_of(process: subprocess.Popen) -> int:
    """Resident, in kB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


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


def test_sigterm_finishes_what_runs(server: Server) -> None:
    stub = stub_of(server)
    many = {name: np.tile(value, [10_000, 1]) for name, value in RAYS.items()}
    stub.Predict(request_of(RAYS), timeout=30)
    answer = stub.Predict.future(request_of(many), timeout=60)
    time.sleep(1)
    assert server.stop() == 0
    assert answer.result().outputs["rgb"].tensor_shape.dim[0].size == 70_000
    assert [line["message"] for line in server.lines[-2:]] == ["version unloaded", "stopped"]


def test_a_killed_server_does_not_cost_a_frame(serve: Serve, base_path: Path) -> None:
    """The client goes on when the server is back."""
    arguments = ["--model_name=disc", f"--model_base_path={base_path}"]
    first = serve(*arguments)
    port = int(first.address.rpartition(":")[2])
    cameras = Cameras.pinhole(orbit_path(1), 600, 500, 700.0)
    with RenderClient([first.address], "disc", seconds=60) as client:
        expected = client.render(cameras, 0)
        rays_done: list[int] = []
        with futures.ThreadPoolExecutor(1) as pool:
            frame = pool.submit(client.render, cameras, 0, rays_done.append)
            wait_until(lambda: len(rays_done) >= 2)
            first.stop(signal.SIGKILL)
            second = serve(*arguments, port=port)
            found = frame.result()
    second.stop()
    np.testing.assert_array_equal(found.rgb, expected.rgb)
    assert sum(rays_done) == 600 * 500


@pytest.fixture(scope="module")
def other_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of the same scene that looks different."""
    return make_version(tmp_path_factory.mktemp("other") / "1", seed=2)


def test_a_swap_does_not_tear_a_picture(
    server: Server, base_path: Path, version: Path, other_version: Path
) -> None:
    cameras = Cameras.pinhole(orbit_path(1), 400, 600, 700.0)
    counts: list[int] = []
    with RenderClient([server.address], "disc", rows_per_request=2000) as client:
        first = client.render(cameras, 0)

        def swap(num_rays: int) -> None:
            if not counts:
                publish(other_version, base_path, 2)
            counts.append(num_rays)
            if len(counts) < 100:  # until the new version answers, at the latest
                time.sleep(0.05)

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
    server = serve("--model_name=disc", f"--model_base_path={base_path}", "--metrics_port=18598")
    path = tmp_path / "path.mp4"
    arguments = [f"--server={server.address}", "--model_name=disc", f"--output={path}"]
    client = start("serving.client", "path", *arguments, "--num_frames=60", "--resolution_factor=8")
    wait_until(lambda: requests_of(18_598).get("OK", 0) > 5)
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


def requests_of(metrics_port: int) -> dict[str, float]:
    """How many Predict requests a server has answered, by their code."""
    pattern = r'tfnerf_requests_total{code="(\w+)",method="Predict".*} (.*)'
    return {code: float(count) for code, count in re.findall(pattern, metrics_of(metrics_port))}


def in_progress(metrics_port: int) -> float:
    """How many requests wait or run."""
    return float(re.findall(r"(?m)^tfnerf_requests_in_progress (.*)", metrics_of(metrics_port))[0])


def metrics_of(port: int) -> str:
    return urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30).read().decode()


def test_a_client_takes_turns_between_servers(serve: Serve, base_path: Path) -> None:
    arguments = ["--model_name=disc", f"--model_base_path={base_path}"]
    servers = [serve(*arguments, f"--metrics_port={port}") for port in (18_595, 18_596)]
    cameras = Cameras.pinhole(orbit_path(1), 300, 400, 400.0)
    with RenderClient([server.address for server in servers], "disc") as client:
        both = client.render(cameras, 0)
        assert min(requests_of(18_595)["OK"], requests_of(18_596)["OK"]) >= 3
        servers[0].stop(signal.SIGKILL)
        one = client.render(cameras, 0)
    servers[1].stop()
    np.testing.assert_array_equal(both.rgb, one.rgb)


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


def test_client_command(server: Server, tmp_path: Path) -> None:
    common = [f"--server={server.address}", "--model_name=disc"]
    assert run("serving.client", "status", *common) == "version 1: AVAILABLE\n"
    assert json.loads(run("serving.client", "describe", *common)) == SCENE
    output = run("serving.client", "path", *common, f"--output={tmp_path / 'path.mp4'}")
    assert "4 frames of 16 x 12 pixels" in output
    fewer = run("serving.client", "path", *common, "--num_frames=2", f"--output={tmp_path}/2.mp4")
    assert "2 frames of 16 x 12 pixels" in fewer
    frames = [{"transform_matrix": to_4x4(pose).tolist()} for pose in orbit_path(4)[1:3]]
    (tmp_path / "path.json").write_text(json.dumps({"frames": frames}))
    own = [f"--keyframes={tmp_path / 'path.json'}", f"--output={tmp_path / 'own.png'}"]
    run("serving.client", "render", *common, *own)
    run("serving.client", "render", *common, "--frame=1", f"--output={tmp_path / 'second.png'}")
    assert (tmp_path / "own.png").read_bytes() == (tmp_path / "second.png").read_bytes()
    own[1:] = [f"--output={tmp_path / 'own.mp4'}", "--num_frames=3"]
    assert "3 frames" in run("serving.client", "path", *common, *own)
    np.save(tmp_path / "points.npy", np.zeros([5, 3]))
    arguments = [f"--points={tmp_path / 'points.npy'}", f"--output={tmp_path / 'points.npz'}"]
    run("serving.client", "points", *common, *arguments)
    assert np.load(tmp_path / "points.npz")["rgb"].shape == (5, 3)
    rows = np.random.default_rng(0).normal(size=[5, 6])
    np.save(tmp_path / "points.npy", rows)
    run("serving.client", "points", *common, *arguments)
    with RenderClient([server.address], "disc") as client:
        rgb, density = client.query_points(rows[:, :3], rows[:, 3:])
    found = np.load(tmp_path / "points.npz")
    np.testing.assert_allclose(found["rgb"], rgb, atol=1e-6)
    np.testing.assert_allclose(found["density"], density, rtol=1e-5)


def test_mistakes_of_the_client_end_in_one_line(server: Server, tmp_path: Path) -> None:
    common = [f"--server={server.address}", "--model_name=disc"]
    mistakes = [
        (["render", *common, "--frame=9"], "--frame=9: expected less than 4"),
        (["render", *common, "--output=frame.gif"], "expected a name that ends in .png"),
        (["smell", *common], "expected one of status"),
        (["status", common[0], "--model_name=x"], "NOT_FOUND"),
        (["status", "--server=localhost", "--model_name=x"], "localhost: expected host:port"),
        (["status", "--server=", "--model_name=x"], "expected host:port"),
        (["status", "--server=a..b:1,localhost:1", "--model_name=x"], "no name of a host"),
        (["status", "--server=localhost:99999", "--model_name=x"], "expected host:port"),
        (["status", *common, "--timeout=inf"], "--timeout=inf"),
        (["render", *common, "--resolution_factor=nan"], "=nan: expected a finite number"),
        (["render", *common, "--output=/nowhere/frame.png"], "there is no folder /nowhere"),
        (["status", *common, "--tls_ca=/etc/hostname"], "--tls_ca=/etc/hostname: found no PEM"),
    ]
    files: dict[str, Callable[[Path], object]] = {
        "found a .npz file": lambda path: np.savez(path.open("wb"), a=np.zeros(3)),
        "not readable as .npy": lambda path: path.write_bytes(b"PK\x03\x04garbage"),
        "row 1: found numbers that are not finite": lambda path: np.save(
            path, [[0.0, 0.0, 0.0], [0.0, 1e300, 0.0]]
        ),
        "found complex128 [5, 3]": lambda path: np.save(path, np.zeros([5, 3], complex)),
    }
    for number, (message, write) in enumerate(files.items()):
        path = tmp_path / f"points{number}.npy"
        write(path)
        mistakes.append((["points", *common, f"--points={path}"], message))
    outputs = run_all([("serving.client", wrong) for wrong, _ in mistakes], status=1)
    for (_, message), output in zip(mistakes, outputs):
        assert message in output and len(output.splitlines()) == 1, output


def test_a_view_equals_its_rays_in_one_request(server: Server, version: Path) -> None:
    cameras = Cameras.pinhole(orbit_path(2), 150, 200, 220.0)
    with RenderClient([server.address], "disc") as client:
        view = client.render(cameras, 1)
    rays = cameras.image_rays(1, pixel_centers=True)
    servable = Servable(version)
    expected = servable.run(
        "serving_default",
        {"origins": rays.origins.numpy(), "directions": rays.directions.numpy()},
    )
    error = np.abs(view.rgb.reshape(-1, 3) - expected["rgb"]).max(-1)
    assert (error > 1e-5).mean() < 0.002
    assert view.version == 1


@pytest.mark.parametrize("kind", [">f4", "f8", "list", "strided"])
def test_rays_may_be_of_any_kind_of_number(server: Server, kind: str) -> None:
    def as_kind(array: np.ndarray) -> Any:
        if kind == "list":
            return array.tolist()
        return np.repeat(array, 2, 0)[::2] if kind == "strided" else array.astype(kind)

    origins, directions = RAYS["origins"], RAYS["directions"]
    with RenderClient([server.address], "disc") as client:
        expected, _ = client.render_rays(origins, directions)
        found, _ = client.render_rays(as_kind(origins), as_kind(directions))
        np.testing.assert_array_equal(found["rgb"], expected["rgb"])
        rgb, _ = client.query_points(as_kind(origins), as_kind(directions))
        np.testing.assert_array_equal(rgb, client.query_points(origins, directions)[0])
        with pytest.raises(ValueError, match=r"origins \[7, 3\], directions \[5, 3\]"):
            client.render_rays(origins, directions[:5])


def test_both_encodings_of_outputs_are_decoded(rng: np.random.Generator) -> None:
    values = rng.normal(size=[50, 3]).astype(np.float32)
    content = tf.make_tensor_proto(values)
    assert content.tensor_content
    listed = tf.make_tensor_proto(0.0, shape=[50, 3])
    del listed.float_val[:]
    listed.float_val.extend(values.ravel().tolist())
    for proto in (content, listed):
        np.testing.assert_array_equal(_decode(proto, 50), values)
    assert _decode(tf.make_tensor_proto(np.zeros([0, 3], np.float32)), 0).shape == (0, 3)


def float_answer(shape: list[int], **contents: object) -> Any:
    dimensions = [{"size": size} for size in shape]
    return tensor_pb2.TensorProto(
        dtype=tf.float32.as_datatype_enum, tensor_shape={"dim": dimensions}, **contents
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (float_answer([5, 3], float_val=[0.0] * 7), "other size than its shape"),
        (float_answer([5, 3], tensor_content=bytes(61)), "other size"),
        (float_answer([5, 1 << 40], tensor_content=bytes(8)), "other size"),
        (float_answer([4, 3], tensor_content=bytes(48)), r"shape \[4, 3\] for 5 rows"),
        (float_answer([5, -1], tensor_content=bytes(60)), r"shape \[5, -1\]"),
        (float_answer([], tensor_content=bytes(4)), r"shape \[\] for 5 rows"),
        (tf.make_tensor_proto(np.zeros([5, 3], np.int32)), "dtype 3"),
    ],
)
def test_answers_of_other_sizes_than_asked_for_are_refused(answer: Any, message: str) -> None:
    with pytest.raises(ServerError, match=message):
        _decode(answer, 5)


def test_a_full_queue_is_unavailable_and_deadlines_hold() -> None:
    admission = Admission(1, 1)
    inside, leave = threading.Event(), threading.Event()

    def occupy() -> None:
        with admission.turn(None):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=occupy)
    thread.start()
    inside.wait(30)
    with pytest.raises(RequestError) as late, admission.turn(0.05):
        pass
    assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    waiting = threading.Thread(target=lambda: admission.turn(10).__enter__())
    waiting.start()
    time.sleep(0.2)
    with pytest.raises(RequestError, match="the queue is full") as full, admission.turn(None):
        pass
    assert full.value.code is grpc.StatusCode.UNAVAILABLE
    leave.set()
    thread.join()
    waiting.join()


def test_requests_of_clients_that_have_gone_are_not_run(serve: Serve, base_path: Path) -> None:
    """They leave the queue when their turn comes; the one that runs is finished."""
    port = 18_597
    arguments = [f"--model_base_path={base_path}", "--max_running=1", f"--metrics_port={port}"]
    server = serve("--model_name=disc", *arguments)
    stub = stub_of(server)
    picture = {**HUGE, "height": np.int32([400]), "width": np.int32([400])}
    request = request_of(picture, "render_view")
    answers = [stub.Predict.future(request, timeout=60) for _ in range(6)]
    wait_until(lambda: in_progress(port) == 6)
    for answer in answers:
        answer.cancel()
    wait_until(lambda: requests_of(port) == {"CANCELLED": 5, "OK": 1})
    assert in_progress(port) == 0
    assert stub.Predict(request_of(RAYS), timeout=30).model_spec.version.value == 1
    assert server.stop() == 0


def test_limits_are_named(server: Server) -> None:
    stub = stub_of(server)
    many = {name: np.tile(value, [20_000, 1]) for name, value in RAYS.items()}
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


def test_requests_without_a_deadline_wait_for_their_turn(serve: Serve, base_path: Path) -> None:
    server = serve("--model_name=disc", f"--model_base_path={base_path}", "--max_running=1")
    many = {name: np.tile(value, [3000, 1]) for name, value in RAYS.items()}
    answers = [stub_of(server).Predict.future(request_of(many)) for _ in range(4)]
    assert [answer.result().model_spec.version.value for answer in answers] == [1, 1, 1, 1]
    assert server.stop() == 0


HUGE = {
    "camera_to_world": orbit_path(1).astype(np.float32),
    "focal": np.float32([4000]),
    "height": np.int32([4096]),
    "width": np.int32([4096]),
}
"""A picture that takes many minutes."""


def test_a_deadline_stops_what_runs(serve: Serve, base_path: Path) -> None:
    """Whoever comes next need not wait for an answer that nobody wants."""
    arguments = [f"--model_base_path={base_path}", "--max_running=1", "--max_pixels=20000000"]
    server = serve("--model_name=disc", *arguments)
    stub = stub_of(server)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request_of(HUGE, "render_view"), timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert stub.Predict(request_of(RAYS), timeout=60).model_spec.version.value == 1
    assert server.stop() == 0


def test_sigterm_cuts_off_what_takes_too_long(serve: Serve, base_path: Path) -> None:
    arguments = [f"--model_base_path={base_path}", "--max_pixels=20000000", "--stop_seconds=0.5"]
    server = serve("--model_name=disc", *arguments)
    answer = stub_of(server).Predict.future(request_of(HUGE, "render_view"))
    time.sleep(1)
    assert server.stop() == 0
    assert server.lines[-1]["message"] == "stopped, with requests that still ran"
    with pytest.raises(grpc.RpcError):
        answer.result()


def test_calls_that_stall_do_not_silence_health(server: Server) -> None:
    """Calls whose message never comes hold all threads for requests."""
    channel = grpc.insecure_channel(server.address)
    stall = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
    forever = threading.Event()

    def nothing() -> Iterator[bytes]:
        forever.wait(60)
        yield from ()

    stalled = [stall.future(nothing()) for _ in range(100)]
    time.sleep(1)
    for service in ("", "disc"):
        assert health_of(grpc.insecure_channel(server.address), service) == "SERVING"
    for call in stalled:
        call.cancel()
    forever.set()


def test_a_port_in_use_is_said_in_one_line(server: Server, base_path: Path) -> None:
    flag = f"--port={server.address.rpartition(':')[2]}"
    arguments = ["--model_name=disc", f"--model_base_path={base_path}", flag]
    output = run("serving.server", *arguments, status=1)
    assert output == (f"error: {flag}: cannot listen on {server.address}: Address already in use\n")


def test_tls_metrics_and_health(serve: Serve, base_path: Path, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = serve(
        "--model_name=disc",
        f"--model_base_path={base_path}",
        f"--tls_certificate={certificate}",
        f"--tls_key={key}",
        f"--tls_client_ca={certificate}",
        "--metrics_port=18599",
    )
    try:
        pem = certificate.read_bytes()
        address = server.address.replace("127.0.0.1", "localhost")
        with RenderClient([address], "disc", tls=(pem, key.read_bytes(), pem)) as client:
            assert client.status()[0].state == "AVAILABLE"
            client.render(client.camera_path(), 0)
        both = [address, address.replace("localhost", "127.0.0.1")]
        with RenderClient(both, "disc", tls=(pem, key.read_bytes(), pem)) as client:
            assert client.status()[0].state == "AVAILABLE"
        with (
            RenderClient([address], "disc", seconds=3, tls=(pem, None, None)) as stranger,
            pytest.raises(ServerError),
        ):
            stranger.status()
        with (
            RenderClient([address], "disc", seconds=3) as plain,
            pytest.raises(ServerError),
        ):
            plain.status()
        credentials = grpc.ssl_channel_credentials(pem, key.read_bytes(), pem)
        assert health_of(grpc.secure_channel(address, credentials)) == "SERVING"
        text = metrics_of(18_599)
        assert 'tfnerf_requests_total{code="OK",method="Predict",model="disc"}' in text
        assert 'tfnerf_run_seconds_count{model="disc",signature="serving_default"}' in text
        assert 'tfnerf_newest_version{model="disc"} 1.0' in text
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--model_config_file, or --model_name and --model_base_path"),
        (["--model_name=x"], "--model_name and --model_base_path: expected both"),
        (["--model_name=x", "--model_base_path=nowhere"], "nowhere: no such folder"),
        (["--model_config_file=nowhere"], "nowhere: no such file"),
        (
            ["--model_name=x", "--model_base_path=configs", "--tls_key=a"],
            "--tls_certificate and --tls_key: expected both",
        ),
        (
            ["--model_name=x", "--tls_certificate=/etc/hostname", "--tls_key=/etc/hostname"],
            "--tls_key=/etc/hostname: found no PEM",
        ),
        (["--model_name=x", "--model_base_path=configs", "--host="], "--host: found nothing"),
        (["--model_name=x", "--stop_seconds=inf"], "--stop_seconds=inf"),
    ],
)
def test_mistakes_end_in_one_line(arguments: list[str], message: str) -> None:
    output = run("serving.server", *arguments, status=1)
    assert message in output and len(output.splitlines()) == 1, output
