"""The client: commands, turns between servers, kinds of numbers, wrong answers."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from commands import run, run_all, wait_until
from servers import RAYS, SCENE, Serve, Server, requests_of
from tensorflow.core.framework import tensor_pb2

from serving.client.channel import ServerError, open_channel, wait_until_connected
from serving.client.prediction import _decode
from serving.client.rendering import RenderClient
from serving.server.servable import Servable
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.paths import orbit_path
from tfnerf.geometry.poses import to_4x4


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


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_no_proxy_is_asked_for_servers_of_this_machine(
    serve: Serve, base_path: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("--model_name=disc", f"--model_base_path={base_path}")
    address = f"{host}:{server.address.rpartition(':')[2]}"
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with RenderClient([address], "disc", seconds=20) as client:
        assert client.render(Cameras.pinhole(orbit_path(1), 3, 4, 4.0), 0).rgb.shape == (3, 4, 3)


def test_a_proxy_that_may_be_in_the_way_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    channel = open_channel(["192.0.2.1:8500"], None)
    with pytest.raises(ServerError, match="or the proxy that http_proxy names"):
        wait_until_connected(channel, seconds=1)
    channel.close()


def test_a_client_takes_turns_between_servers(serve: Serve, base_path: Path) -> None:
    arguments = ["--model_name=disc", f"--model_base_path={base_path}"]
    servers = [serve(*arguments, "--metrics_port=0") for _ in range(2)]
    cameras = Cameras.pinhole(orbit_path(1), 300, 400, 400.0)
    with RenderClient([server.address for server in servers], "disc") as client:
        both = client.render(cameras, 0)
        assert min(requests_of(each)["OK"] for each in servers) >= 3
        servers[0].stop(signal.SIGKILL)
        one = client.render(cameras, 0)
    servers[1].stop()
    np.testing.assert_array_equal(both.rgb, one.rgb)


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
