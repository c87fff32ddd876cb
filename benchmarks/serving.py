"""What serving costs on this machine: gRPC against the same Session in this process.

python -m benchmarks.serving --model_base_path=models/demo
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from tfnerf import command_line
from tfnerf.errors import UserError

if TYPE_CHECKING:
    from serving.render_client import RenderClient
    from serving.servable import Servable

_MODEL_BASE_PATH = flags.DEFINE_string("model_base_path", None, "Folder of an exported model.")
_PORT = flags.DEFINE_integer("port", 8598, "For the server.")
_REPEATS = flags.DEFINE_integer("repeats", 15, "Measurements of a chunk, a third for frames.", 3)
_CHUNK = 16_384
_SIDE = 400


def main() -> None:
    """The command."""
    if not _MODEL_BASE_PATH.value:
        raise UserError("--model_base_path: not given, expected the folder of an exported model")
    command_line.import_tensorflow()
    from serving.render_client import RenderClient
    from serving.servable import Servable
    from serving.version_folders import list_versions

    versions = list_versions(Path(_MODEL_BASE_PATH.value))
    if not versions:
        raise UserError(f"--model_base_path={_MODEL_BASE_PATH.value}: found no versions")
    servable = Servable(versions[-1])
    command = [sys.executable, "-m", "serving.server", "--model_name=scene"]
    command += [f"--model_base_path={_MODEL_BASE_PATH.value}", f"--port={_PORT.value}"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        with RenderClient([f"127.0.0.1:{_PORT.value}"], "scene") as client:
            _measure_chunk(servable, client)
            _measure_frame(servable, client)
    finally:
        server.terminate()
        server.wait()


def _measure_chunk(servable: Servable, client: RenderClient) -> None:
    cameras = client.camera_path()
    origins = np.tile(cameras.camera_to_world[0, :, 3], [_CHUNK, 1])
    directions = np.tile(-cameras.camera_to_world[0, :, 2], [_CHUNK, 1])
    inputs = {"origins": origins, "directions": directions}
    alone, served = _in_turns(
        lambda: servable.run("serving_default", inputs),
        lambda: client.render_rays(origins, directions),
        _REPEATS.value,
    )
    print(
        f"{_CHUNK} rays: Session {1e3 * alone:.1f} ms, gRPC {1e3 * served:.1f} ms "
        f"(medians), {1e3 * (served - alone):+.1f} ms"
    )


def _measure_frame(servable: Servable, client: RenderClient) -> None:
    cameras = client.camera_path()
    cameras = cameras.resized(_SIDE / max(cameras.height, cameras.width))
    pixels = np.arange(cameras.height * cameras.width)
    rays = cameras[:1].rays(
        0 * pixels, pixels // cameras.width, pixels % cameras.width, pixel_centers=True
    )
    inputs = {"origins": rays.origins.numpy(), "directions": rays.directions.numpy()}
    alone, served = _in_turns(
        lambda: servable.run("serving_default", inputs),
        lambda: client.render(cameras, 0),
        max(_REPEATS.value // 3, 3),
    )
    print(
        f"{cameras.width} x {cameras.height} frame: Session {alone:.2f} s, gRPC {served:.2f} s "
        f"(medians), {served / alone:.3f} times"
    )


def _in_turns(
    one: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[float, float]:
    """Median seconds of each, measured in turns so that both meet the same machine."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(repeats + 1):
        for function, seconds in zip((one, other), times):
            begin = time.perf_counter()
            function()
            if repeat:  # the first is for warming up
                seconds.append(time.perf_counter() - begin)
    return statistics.median(times[0]), statistics.median(times[1])


if __name__ == "__main__":
    command_line.run(main)
