"""Rendering the frames of a camera path, so that a kill costs no more than the frame it was at."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as imageio
import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import (
    make_folder,
    remove_folder,
    remove_unfinished_files,
    sole_writer,
    to_json,
    write_file,
)
from tfnerf.fingerprint import fingerprint
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import to_4x4, transformed
from tfnerf.images import (
    WORLD_DEPTH,
    color_map,
    depth_files,
    opaque_depth,
    to_8bit,
    write_depth,
    write_png,
    write_video,
)
from tfnerf.progress import progress_bar
from tfnerf.scenes import Scene, spread
from tfnerf.volume.image_renderer import Image, ImageRenderer

_log = logging.getLogger(__name__)
KINDS = ("rgb", "rgba", "depth", "disparity")
"""Pictures of a frame, each in a folder of its own."""
VIDEOS = ("rgb", "depth", "disparity")
_PATH_FILE = "path.json"
_NUM_PREVIEWS, _PREVIEW_SIZE = 5, 32
"""Small renderings that tell which depths there are."""
_MIN_OPACITY = 0.5
"""What is more transparent says nothing of depth."""
_SMALLEST = 1e-6
"""What is divided by is not smaller."""


class Range(NamedTuple):
    """Values that the ends of a colour map stand for."""

    low: float
    high: float

    def fraction(self, values: np.ndarray) -> np.ndarray:
        """0 at the low end, 1 at the high end."""
        return (values - self.low) / max(self.high - self.low, _SMALLEST)


def render_path(
    renderer: ImageRenderer,
    scene: Scene,
    cameras: Cameras,
    folder: Path,
    *,
    frames_per_second: int,
    frozen_camera: bool = False,
    world_depth: bool = False,
) -> None:
    """Renders every camera into `<folder>/<kind>/NNNN.png` and videos of them.

    rgb is colour, rgba colour with opacity as alpha; depth and disparity are coloured, near is
    bright. path.json holds the cameras; it can be used as a file of keyframes. Frames that an
    interrupted rendering of the same scene and cameras has left are not done again.
    With `world_depth` there are depths in world units too, as numbers: NNNN.npy, and NNNN.png with
    16 bits, one level of which is `world_depth_per_level` of path.json.

    Args:
      renderer: of the scene.
      scene: that the cameras look at.
      cameras: one per frame.
      folder: to write to.
      frames_per_second: of the videos.
      frozen_camera: every frame is seen from the first camera, in the colours that surfaces show
        to the camera of the frame.
      world_depth: whether to write depths as numbers.

    Raises:
      UserError: the folder cannot be written.
    """
    with sole_writer(make_folder(folder)):
        remove_unfinished_files(folder)
        identity = fingerprint(renderer.fingerprint, frozen_camera, cameras)
        _keep_only(folder, identity)
        _render_frames(renderer, scene, cameras, folder, identity, frozen_camera, world_depth)
        if len(cameras) > 1:
            for kind in VIDEOS:
                frames = _read_frames(folder / kind, len(cameras))
                write_video(folder / f"{kind}.mp4", frames, frames_per_second)


def _render_frames(
    renderer: ImageRenderer,
    scene: Scene,
    cameras: Cameras,
    folder: Path,
    identity: str,
    frozen_camera: bool,
    world_depth: bool,
) -> None:
    """Those that are not there yet."""
    for kind in (*KINDS, *([WORLD_DEPTH] if world_depth else [])):
        make_folder(folder / kind)
    write_file(folder / _PATH_FILE, _describe(cameras, scene, identity))
    depths = _depth_range(renderer, scene, cameras)
    files = [_frame(folder, index, world_depth) for index in range(len(cameras))]
    missing = [i for i, paths in enumerate(files) if not all(path.is_file() for path in paths)]
    if len(missing) < len(cameras):
        _log.info("%d of %d frames are there", len(cameras) - len(missing), len(cameras))
    with progress_bar(folder.name, len(missing) * cameras.height * cameras.width) as progress:
        for index in missing:
            if frozen_camera:
                image = renderer(cameras, 0, progress, viewdirs_of=index)
            else:
                image = renderer(cameras, index, progress)
            _write_frame(folder, index, image, scene, depths)
            if world_depth:
                path = folder / WORLD_DEPTH / f"{index:04d}"
                write_depth(
                    path, image.scene_depth * scene.world_scale, scene.world_depth_per_level
                )


def in_scene_units(depth: np.ndarray, scene: Scene) -> np.ndarray:
    """Depths as distances: in NDC, from the plane of the average camera."""
    return scene.ndc.near / np.maximum(1 - depth, _SMALLEST) if scene.ndc else depth


def straight_alpha(image: Image, *, white_background: bool) -> np.ndarray:
    """Colour that is not multiplied with opacity, and opacity as alpha: [H, W, 4], 0 to 1."""
    opacity = image.opacity[..., np.newaxis]
    premultiplied = image.rgb - (1 - opacity) if white_background else image.rgb
    return np.concatenate([premultiplied / np.maximum(opacity, _SMALLEST), opacity], -1)


def _keep_only(folder: Path, identity: str) -> None:
    """Removes frames and videos of something else."""
    try:
        if json.loads((folder / _PATH_FILE).read_text())["fingerprint"] == identity:
            return
        _log.info("%s: made anew, it shows other weights or other cameras", folder)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        for kind in (*KINDS, WORLD_DEPTH):
            if (folder / kind).is_dir():
                remove_folder(folder / kind)
        for kind in VIDEOS:
            (folder / f"{kind}.mp4").unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}") from None


def _describe(cameras: Cameras, scene: Scene, identity: str) -> str:
    """The cameras in the units and axes of the scene's files, in the form of keyframes."""
    poses = transformed(scene.scene_to_world, cameras.camera_to_world.astype(np.float64))
    content = {
        "w": cameras.width,
        "h": cameras.height,
        "frames": [
            {"transform_matrix": pose.tolist(), "fl_x": float(x), "fl_y": float(y), **conditions}
            for pose, (x, y), conditions in zip(
                to_4x4(poses), cameras.focal, _conditions_of_each(cameras)
            )
        ],
        "world_depth_per_level": scene.world_depth_per_level,
        "fingerprint": identity,
    }
    return to_json(content, indent=1) + "\n"


def _conditions_of_each(cameras: Cameras) -> list[dict[str, Any]]:
    """What each camera sees, by the name of the condition."""
    rows = {name: values.tolist() for name, values in (cameras.conditions or {}).items()}
    return [{name: values[view] for name, values in rows.items()} for view in range(len(cameras))]


def _depth_range(renderer: ImageRenderer, scene: Scene, cameras: Cameras) -> Range:
    """Of most of what is to be seen, in scene units, so that the colours of all frames tell much.

    Depends on the path alone, so a rendering that goes on has the same colours.
    """
    small = cameras.resized(_PREVIEW_SIZE / max(cameras.height, cameras.width))
    previews = [renderer(small, index) for index in spread(len(cameras), _NUM_PREVIEWS)]
    opacity = np.concatenate([image.opacity.ravel() for image in previews])
    depth = np.concatenate([image.depth.ravel() for image in previews])
    seen = opacity > _MIN_OPACITY
    if not seen.any():
        return Range(*scene.depth_bounds)
    low, high = np.percentile(in_scene_units(depth[seen] / opacity[seen], scene), [1, 99])
    return Range(float(low), float(min(high, scene.depth_bounds[1])))


def _frame(folder: Path, index: int, world_depth: bool = False) -> list[Path]:
    """Where the pictures of a frame are, in the order of KINDS, and its depths as numbers."""
    pictures = [folder / kind / f"{index:04d}.png" for kind in KINDS]
    return pictures + (depth_files(folder / WORLD_DEPTH / f"{index:04d}") if world_depth else [])


def _write_frame(folder: Path, index: int, image: Image, scene: Scene, depths: Range) -> None:
    depth = in_scene_units(opaque_depth(image.depth, image.opacity, scene.far), scene)
    disparities = Range(*(1 / max(depth, _SMALLEST) for depth in (depths.high, depths.low)))
    pictures = (
        to_8bit(image.rgb),
        to_8bit(straight_alpha(image, white_background=scene.white_background)),
        color_map(1 - depths.fraction(depth), "magma"),
        color_map(disparities.fraction(1 / np.maximum(depth, _SMALLEST)), "magma"),
    )
    for path, picture in zip(_frame(folder, index), pictures):
        write_png(path, picture)


def _read_frames(folder: Path, num_frames: int) -> Iterator[np.ndarray]:
    for index in range(num_frames):
        yield imageio.imread(folder / f"{index:04d}.png")
