"""Asks a served scene for pictures. Needs a server and nothing else: no data set, no run folder.

python -m serving.client describe --server=localhost:8500 --model_name=lego
python -m serving.client render --server=localhost:8500 --model_name=lego --output=frame.png
python -m serving.client path --server=localhost:8500 --model_name=lego --output=orbit.mp4
python -m serving.client render --server=localhost:8500 --model_name=moving --time=0.5

Verbs: status, describe, render (one camera), path (a video), points (colours and densities of
points in a .npy file). Cameras are those of the scene's camera path, or of a file (--keyframes).
"""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from absl import flags

from serving.client import flags as client_flags
from tfnerf import command_line
from tfnerf.condition_flags import chosen_conditions, define_condition_flags
from tfnerf.errors import UserError, first_line
from tfnerf.files import with_home, write_file

if TYPE_CHECKING:
    from serving.client.rendering import RenderClient
    from tfnerf.geometry.cameras import Cameras
    from tfnerf.geometry.keyframes import Keyframes

_log = logging.getLogger("tfnerf.client")
_FRAMES_THROUGH_KEYFRAMES = 120

flags.adopt_module_key_flags(client_flags)
_OUTPUT = flags.DEFINE_string(
    "output",
    None,
    "File to write, .png, .mp4, or .npz for points; default: one of the model's name, here.",
)
_KEYFRAMES = flags.DEFINE_string(
    "keyframes",
    None,
    "JSON file with a list `frames` of objects with a `transform_matrix`, world coordinates: the "
    "cameras of render; path goes smoothly through them.",
)
_NUM_FRAMES = flags.DEFINE_integer(
    "num_frames", None, "Of a path; default: those of the scene's, or 120 through keyframes.", 2
)
_FRAME = flags.DEFINE_integer("frame", 0, "Which camera to render.", 0)
_RESOLUTION_FACTOR = flags.DEFINE_float(
    "resolution_factor", 1.0, "Size against the training images.", 0.01, 16
)
_POINTS = flags.DEFINE_string(
    "points",
    None,
    "A .npy file, world coordinates: points [N, 3], or [N, 6] with the directions that they are "
    "seen along; default: -z.",
)
_FPS = flags.DEFINE_integer("fps", 30, "Frames a second of the video.", 1, 1000)


def main(*arguments: str) -> None:
    """Asks a server, and prints or writes its answer."""
    answering = {"status": _status, "describe": _describe}
    writing = {"render": (_render, ".png"), "path": (_path, ".mp4"), "points": (_query, ".npz")}
    verb = " ".join(arguments) or "none"
    if verb in answering:
        with client_flags.open_client() as client:
            answering[verb](client)
    elif verb in writing:
        write, suffix = writing[verb]
        path = _output(suffix)
        with client_flags.open_client() as client:
            write(client, path)
    else:
        raise UserError(f"expected one of {', '.join([*answering, *writing])}, found {verb}")


def _status(client: RenderClient) -> None:
    for status in client.status():
        print(f"version {status.version}: {status.state} {status.error}".rstrip())


def _describe(client: RenderClient) -> None:
    fields = [
        f"{json.dumps(name)}: {json.dumps(value)}" for name, value in client.describe().items()
    ]
    print("{" + ",\n ".join(fields) + "}")


def _render(client: RenderClient, path: Path) -> None:
    from tfnerf.images import to_8bit, write_png
    from tfnerf.progress import progress_bar

    keyframes = _keyframes(at_least=1)
    cameras = client.camera_path() if keyframes is None else _seen_by(client, keyframes)
    cameras = _under_conditions(client, cameras).resized(_RESOLUTION_FACTOR.value)
    if _FRAME.value >= len(cameras):
        raise UserError(f"--frame={_FRAME.value}: expected less than {len(cameras)}")
    with progress_bar(path.name, cameras.height * cameras.width) as progress:
        view = client.render(cameras, _FRAME.value, progress)
    write_png(path, to_8bit(view.rgb))
    print(f"{path}: {cameras.width} x {cameras.height} pixels, version {view.version}")


def _path(client: RenderClient, path: Path) -> None:
    from serving.client.channel import ServerError

    while True:
        version = client.scene_version
        cameras = _under_conditions(client, _path_cameras(client))
        cameras = cameras.resized(_RESOLUTION_FACTOR.value)
        try:
            _write_path(client, cameras, version, path)
            break
        except ServerError:
            # Another version may be of another scene, and one video is of one.
            if client.scene_version == version:
                raise
            _log.info("%s: begins again, as version %d is gone", path, version)
    size = f"{cameras.width} x {cameras.height} pixels"
    print(f"{path}: {len(cameras)} frames of {size}, version {version}")


def _write_path(client: RenderClient, cameras: Cameras, version: int, path: Path) -> None:
    """A video of one version; ServerError if there is none."""
    from tfnerf.images import to_8bit, write_video
    from tfnerf.progress import progress_bar

    with progress_bar(path.name, len(cameras) * cameras.height * cameras.width) as progress:
        frames = (
            to_8bit(client.render(cameras, index, progress, version).rgb)
            for index in range(len(cameras))
        )
        write_video(path, frames, _FPS.value)


def _path_cameras(client: RenderClient) -> Cameras:
    """The scene's path, or one through keyframes, with the number of frames that is asked for."""
    from tfnerf.geometry.paths import interpolated

    keyframes = _keyframes(at_least=2)
    if keyframes is not None:
        num_frames = _NUM_FRAMES.value or _FRAMES_THROUGH_KEYFRAMES
        return _seen_by(client, keyframes.path(num_frames))
    cameras = client.camera_path()
    if _NUM_FRAMES.value is None:
        return cameras
    return client.cameras(interpolated(cameras.camera_to_world, _NUM_FRAMES.value))


def _under_conditions(client: RenderClient, cameras: Cameras) -> Cameras:
    """The cameras with the time, the light and the appearance that are to be seen."""
    from tfnerf.geometry.conditions import choose

    said = cameras.conditions
    return cameras.under(choose(client.conditions, chosen_conditions(), len(cameras), said))


def _seen_by(client: RenderClient, keyframes: Keyframes) -> Cameras:
    return keyframes.seen_by(client.cameras(keyframes.poses)).under(keyframes.conditions)


def _keyframes(at_least: int) -> Keyframes | None:
    """Those of the file that the flag names, if it does."""
    from tfnerf.geometry.keyframes import read_keyframes

    return read_keyframes(with_home(_KEYFRAMES.value), at_least) if _KEYFRAMES.value else None


def _query(client: RenderClient, path: Path) -> None:
    import io

    from tfnerf.geometry.conditions import choose

    points, viewdirs = _read_points()
    rows = choose(client.conditions, chosen_conditions(), 1) or {}
    conditions = {name: np.repeat(row, len(points), axis=0) for name, row in rows.items()}
    rgb, density = client.query_points(points, viewdirs, conditions)
    buffer = io.BytesIO()
    np.savez(buffer, rgb=rgb, density=density)
    write_file(path, buffer.getvalue())
    print(f"{path}: colour and density of {len(points)} points")


def _read_points() -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] of the file, and the directions [N, 3] that they are seen along."""
    expected = "expected numbers [N, 3], or [N, 6] with directions"
    if not _POINTS.value:
        raise UserError(f"--points: not given, expected a .npy file; in it {expected}")
    try:
        rows = np.load(with_home(_POINTS.value), allow_pickle=False)
    except Exception as error:  # of many kinds, by what is in the file
        text = first_line(error)
        raise UserError(f"--points={_POINTS.value}: not readable as .npy: {text}") from None
    if not isinstance(rows, np.ndarray):
        raise UserError(f"--points={_POINTS.value}: found a .npz file, {expected}")
    if rows.ndim != 2 or rows.shape[1] not in (3, 6) or rows.dtype.kind not in "fiu":
        found = f"{rows.dtype} {list(rows.shape)}"
        raise UserError(f"--points={_POINTS.value}: found {found}, {expected}")
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float32)
    if not np.isfinite(rows).all():
        row = int(np.argmin(np.isfinite(rows).all(-1)))
        raise UserError(f"--points={_POINTS.value}: row {row}: found numbers that are not finite")
    if rows.shape[1] == 6:
        return rows[:, :3], rows[:, 3:]
    return rows, np.tile([0.0, 0.0, -1.0], [len(rows), 1])


def _output(suffix: str) -> Path:
    path = with_home(_OUTPUT.value or f"{client_flags.model_name()}{suffix}")
    if path.suffix != suffix:
        raise UserError(f"--output={path}: expected a name that ends in {suffix}")
    if not path.parent.is_dir():
        raise UserError(f"--output={path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"--output={path}: the folder {path.parent} cannot be written to")
    return path


if __name__ == "__main__":
    define_condition_flags()
    command_line.run(main, with_arguments=True)
