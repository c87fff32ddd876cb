"""What serving costs on this machine: the wire, a frame, a swap of versions.

python -m benchmarks.serving --model_base_path=models/demo
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from tfnerf import command_line
from tfnerf.errors import UserError
from tfnerf.files import with_home

if TYPE_CHECKING:
    from serving.client.rendering import RenderClient
    from serving.server.servable import Servable

_MODEL_BASE_PATH = flags.DEFINE_string("model_base_path", None, "Folder of an exported model.")
_PORT = flags.DEFINE_integer("port", 8598, "For the server; the next one is for its metrics.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Measurements of a chunk, a third for frames.", 3)
_CHUNK = 16_384
_SIDE = 400
_CALLS_PER_TURN = 4
_NUM_SWAPS = 3
_SWAP_CLIENTS, _SWAP_RAYS = 2, 16
_QUIET_SECONDS = 5.0
"""Of load before each swap."""


def main() -> None:
    """Measures a server, and prints a table and JSON."""
    if not _MODEL_BASE_PATH.value:
        raise UserError("--model_base_path: not given, expected the folder of an exported model")
    command_line.import_tensorflow()
    from serving.client.rendering import RenderClient
    from serving.server.servable import Servable
    from serving.version_folders import list_versions

    versions = list_versions(with_home(_MODEL_BASE_PATH.value))
    if not versions:
        raise UserError(f"--model_base_path={_MODEL_BASE_PATH.value}: found no versions")
    with tempfile.TemporaryDirectory() as folder:
        base_path = Path(folder)
        shutil.copytree(versions[-1], base_path / "1")
        with _serving(base_path), RenderClient([f"127.0.0.1:{_PORT.value}"], "scene") as client:
            servable = Servable(versions[-1])
            _measure_chunk(client)
            _measure_frame(servable, client)
            _measure_swaps(client, base_path)


@contextlib.contextmanager
def _serving(base_path: Path) -> Iterator[None]:
    """A server in a process of its own."""
    command = [sys.executable, "-m", "serving.server", "--model_name=scene"]
    command += [f"--model_base_path={base_path}", f"--port={_PORT.value}"]
    command += [f"--metrics_port={_PORT.value + 1}", "--poll_seconds=0.1"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def _measure_chunk(client: RenderClient) -> None:
    """What the wire adds to the very run of the model that a request causes."""
    origins, directions = _rays(client, _CHUNK)
    served, added = [], []
    for _ in range(_REPEATS.value + 1):
        before = _seconds_run()
        seconds = _seconds(lambda: client.render_rays(origins, directions))
        served.append(seconds)
        added.append(seconds - (_seconds_run() - before))
    # The first is left out: it meets cold caches.
    total, extra = statistics.median(served[1:]), statistics.median(added[1:])
    print(
        f"{_CHUNK} rays over gRPC: {1e3 * total:.1f} ms, of which {1e3 * extra:.1f} ms are not the "
        f"Session's (medians of {_REPEATS.value})"
    )


def _measure_frame(servable: Servable, client: RenderClient) -> None:
    cameras = client.camera_path()
    cameras = cameras.resized(_SIDE / max(cameras.height, cameras.width))
    rays = cameras.image_rays(0, pixel_centers=True)
    inputs = {"origins": rays.origins.numpy(), "directions": rays.directions.numpy()}
    alone, served = _in_turns(
        lambda: servable.run("serving_default", inputs),
        lambda: client.render(cameras, 0),
        max(_REPEATS.value // 3, 3),
    )
    print(
        f"{cameras.width} x {cameras.height} frame: Session in this process {alone:.2f} s, gRPC "
        f"{served:.2f} s (medians), {served / alone:.3f} times"
    )


def _measure_swaps(client: RenderClient, base_path: Path) -> None:
    """Times of small requests before new versions come, and while they are loaded."""
    origins, directions = _rays(client, _SWAP_RAYS)
    quiet: list[float] = []
    swapping: list[float] = []
    times, newest = quiet, [1]
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            begin = time.perf_counter()
            _, version = client.render_rays(origins, directions)
            times.append(time.perf_counter() - begin)
            newest[0] = max(newest[0], version)

    with futures.ThreadPoolExecutor(_SWAP_CLIENTS) as pool:
        asking = [pool.submit(ask) for _ in range(_SWAP_CLIENTS)]
        try:
            for number in range(2, 2 + _NUM_SWAPS):
                times = quiet
                time.sleep(_QUIET_SECONDS)
                shutil.copytree(base_path / "1", base_path / f".{number}")
                times = swapping
                (base_path / f".{number}").rename(base_path / str(number))
                while newest[0] < number and not any(each.done() for each in asking):
                    time.sleep(0.01)
        finally:
            done.set()
        for each in asking:
            each.result()
    for name, found in (("before", quiet), ("during", swapping)):
        middle, slowest = 1e3 * np.percentile(found, [50, 99])
        print(
            f"{_SWAP_RAYS} rays, {_SWAP_CLIENTS} clients, {name} {_NUM_SWAPS} swaps: "
            f"p50 {middle:.1f} ms, p99 {slowest:.1f} ms ({len(found)} requests, none failed)"
        )


def _rays(client: RenderClient, num_rays: int) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions [N, 3] of rays into the scene."""
    pose = client.camera_path().camera_to_world[0]
    return np.tile(pose[:, 3], [num_rays, 1]), np.tile(-pose[:, 2], [num_rays, 1])


def _seconds_run() -> float:
    """That the server's model has run for so far."""
    url = f"http://127.0.0.1:{_PORT.value + 1}/metrics"
    lines = urllib.request.urlopen(url, timeout=30).read().decode().splitlines()
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith("tfnerf_run_seconds_sum")
    )


def _in_turns(
    one: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Median seconds of each, measured in turns so that both meet the same machine.

    A turn is several calls, of which the first is left out: it meets cold caches and threads that
    sleep.
    """
    times: tuple[list[float], list[float]] = ([], [])
    while len(times[1]) < repeats:
        for function, seconds in zip((one, other), times):
            seconds += [_seconds(function) for _ in range(_CALLS_PER_TURN)][1:]
    return statistics.median(times[0]), statistics.median(times[1])


def _seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


if __name__ == "__main__":
    command_line.run(main)
