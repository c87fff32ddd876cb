"""Renders a trained run along a camera path: PNG frames, videos, depth.

python -m tfnerf.render --run_dir=runs/lego
python -m tfnerf.render --run_dir=runs/fern --camera_path=spiral --resolution_factor=0.5
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfnerf import command_line
from tfnerf.config import define_run_flags, run_arguments
from tfnerf.errors import UserError

if TYPE_CHECKING:
    from tfnerf.cameras import Cameras
    from tfnerf.scenes import Scene
    from tfnerf.settings import SceneSettings

_log = logging.getLogger("tfnerf.render")
_CAMERA_PATH = flags.DEFINE_enum(
    "camera_path",
    "auto",
    ["auto", "orbit", "spiral", "train", "val", "test"],
    "Around the scene, before it, or the cameras of a split; auto: spiral for forward-facing "
    "scenes, orbit for others.",
)
_KEYFRAMES = flags.DEFINE_string(
    "keyframes",
    None,
    "Instead: a JSON file of poses to go through, frames with a transform_matrix as in a "
    "transforms.json.",
)
_NUM_FRAMES = flags.DEFINE_integer(
    "num_frames", 120, "Frames of an orbit, a spiral or keyframes.", lower_bound=2
)
_FRAMES_PER_SECOND = flags.DEFINE_integer("fps", 30, "Frames a second of videos.", lower_bound=1)
_RESOLUTION_FACTOR = flags.DEFINE_float(
    "resolution_factor", 1.0, "Size against the training images; less for previews.", lower_bound=0
)
_FROZEN_CAMERA = flags.DEFINE_bool(
    "frozen_camera",
    False,
    "Stay at the first camera and let only the view directions follow the path: shows what of the "
    "colours depends on them.",
)


def main() -> None:
    """The command."""
    if _KEYFRAMES.value and _CAMERA_PATH.value != "auto":
        raise UserError("--camera_path and --keyframes: expected one of them")
    if _RESOLUTION_FACTOR.value == 0:
        raise UserError("--resolution_factor=0: expected more")
    command_line.import_tensorflow()
    from tfnerf.path_rendering import render_path
    from tfnerf.trained_run import TrainedRun

    run = TrainedRun.load(**run_arguments())
    scene = run.scene(["train", "val" if _CAMERA_PATH.value == "val" else "test"])
    name, cameras = _name_and_cameras(scene, run.config.scene)
    folder = run.folder.renders / (name + ("_frozen" if _FROZEN_CAMERA.value else ""))
    cameras = cameras.resized(_RESOLUTION_FACTOR.value)
    render_path(
        run.renderer(scene),
        scene,
        cameras,
        folder,
        fingerprint=run.fingerprint(),
        frames_per_second=_FRAMES_PER_SECOND.value,
        frozen_camera=_FROZEN_CAMERA.value,
    )
    _log.info("%d frames of colour and depth, and videos: %s", len(cameras), folder)


def _name_and_cameras(scene: Scene, settings: SceneSettings) -> tuple[str, Cameras]:
    """What the path is called, and one camera a frame."""
    from tfnerf import scene_paths

    num_frames = _NUM_FRAMES.value
    if _KEYFRAMES.value:
        path = Path(_KEYFRAMES.value)
        return path.stem, scene_paths.keyframe_cameras(scene, path, num_frames)
    name = _CAMERA_PATH.value
    name = scene_paths.default_path(scene) if name == "auto" else name
    if name == "orbit":
        return name, scene_paths.orbit_cameras(scene, settings, num_frames)
    if name == "spiral":
        return name, scene_paths.spiral_cameras(scene, num_frames)
    return name, scene_paths.split_cameras(scene, name)


if __name__ == "__main__":
    define_run_flags()
    command_line.run(main)
