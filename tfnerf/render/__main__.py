"""Renders a trained run along a camera path: PNG frames, videos, depth.

python -m tfnerf.render --run_dir=runs/lego
python -m tfnerf.render --run_dir=runs/fern --camera_path=spiral --resolution_factor=0.5
python -m tfnerf.render --run_dir=runs/moving --camera_path=still --time=sweep
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from absl import flags

from tfnerf import command_line
from tfnerf.condition_flags import chosen_conditions, chosen_suffix, define_condition_flags
from tfnerf.errors import UserError
from tfnerf.files import with_home
from tfnerf.flags import define_run_flags, run_arguments

if TYPE_CHECKING:
    from tfnerf.geometry.cameras import Cameras
    from tfnerf.scenes import Scene
    from tfnerf.settings import SceneSettings

_MAX_RESOLUTION_FACTOR = 16
_log = logging.getLogger("tfnerf.render")
_CAMERA_PATH = flags.DEFINE_enum(
    "camera_path",
    "auto",
    ["auto", "orbit", "spiral", "still", "train", "val", "test"],
    "Around the scene, before it, standing still, or the cameras of a split; auto: spiral for "
    "forward-facing scenes, orbit for others.",
)
_KEYFRAMES = flags.DEFINE_string(
    "keyframes",
    None,
    "Instead: a JSON file of poses to go through, frames with a transform_matrix as in a "
    "transforms.json.",
)
_NUM_FRAMES = flags.DEFINE_integer(
    "num_frames", 120, "Frames of all but the cameras of a split.", lower_bound=2
)
_FRAMES_PER_SECOND = flags.DEFINE_integer("fps", 30, "Frames a second of videos.", 1, 1000)
_RESOLUTION_FACTOR = flags.DEFINE_float(
    "resolution_factor", 1.0, "Size against the training images; less for previews."
)
_FROZEN_CAMERA = flags.DEFINE_bool(
    "frozen_camera",
    False,
    "Stay at the first camera and let only the view directions follow the path: shows what of the "
    "colours depends on them.",
)

_WORLD_DEPTH = flags.DEFINE_bool(
    "world_depth", False, "Write depths in world units too, as numbers: NPY and 16-bit PNG."
)


def main() -> None:
    """Renders frames and videos along a path."""
    if _KEYFRAMES.value and _CAMERA_PATH.value != "auto":
        raise UserError("--camera_path and --keyframes: expected one of them")
    if not 0 < _RESOLUTION_FACTOR.value <= _MAX_RESOLUTION_FACTOR:
        raise UserError(
            f"--resolution_factor={_RESOLUTION_FACTOR.value}: expected more than 0 and at most "
            f"{_MAX_RESOLUTION_FACTOR}"
        )
    command_line.import_tensorflow()
    from tfnerf.render.frames import render_path
    from tfnerf.runs.trained import TrainedRun

    run = TrainedRun.load(**run_arguments())
    on_val = _CAMERA_PATH.value == "val"
    scene = run.scene(["train", "val"]) if on_val else run.scene_without_images()
    name, cameras = _name_and_cameras(scene, run.config.scene)
    if _FROZEN_CAMERA.value and not run.config.network.use_viewdirs:
        raise UserError(f"--frozen_camera: {run.folder.path} was trained without view directions")
    cameras = _under_conditions(scene, cameras).resized(_RESOLUTION_FACTOR.value)
    folder = run.folder.renders / (_folder_name(name) + run.suffix)
    render_path(
        run.image_renderer(scene),
        scene,
        cameras,
        folder,
        frames_per_second=_FRAMES_PER_SECOND.value,
        frozen_camera=_FROZEN_CAMERA.value,
        world_depth=_WORLD_DEPTH.value,
    )
    _log.info("%d frames of colour and depth, and videos: %s", len(cameras), folder)


def _folder_name(path_name: str) -> str:
    """So that a preview does not replace the whole."""
    frozen = "_frozen" if _FROZEN_CAMERA.value else ""
    factor = _RESOLUTION_FACTOR.value
    return path_name + frozen + chosen_suffix() + ("" if factor == 1 else f"_{factor:g}x")


def _under_conditions(scene: Scene, cameras: Cameras) -> Cameras:
    """The cameras with the time, the light and the appearance that are to be seen."""
    from tfnerf.geometry.conditions import choose

    said = cameras.conditions
    return cameras.under(choose(scene.conditions, chosen_conditions(), len(cameras), said))


def _name_and_cameras(scene: Scene, settings: SceneSettings) -> tuple[str, Cameras]:
    """What the path is called, and one camera a frame."""
    from tfnerf.scenes import paths as scene_paths

    num_frames = _NUM_FRAMES.value
    if _KEYFRAMES.value:
        path = with_home(_KEYFRAMES.value)
        return f"keyframes_{path.stem}", scene_paths.keyframe_cameras(scene, path, num_frames)
    name = _CAMERA_PATH.value
    name = scene_paths.default_path(scene) if name == "auto" else name
    if name in ("orbit", "spiral", "still"):
        return name, scene_paths.path_cameras(scene, settings, name, num_frames)
    return name, scene_paths.split_cameras(scene, name)


if __name__ == "__main__":
    define_run_flags()
    define_condition_flags()
    command_line.run(main)
