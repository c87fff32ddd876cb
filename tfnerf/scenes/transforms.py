"""Captures with a transforms.json, as instant-ngp's and nerfstudio's scripts write it.

The scene is moved and scaled so that the point that the cameras look at is the origin and their
mean distance from it is 4, much like the synthetic scenes that the published settings are for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import read_json
from tfnerf.geometry.poses import MIN_CONVERGENCE, check_poses, looking_at, meeting_point
from tfnerf.scenes.extent import depth_range
from tfnerf.scenes.files import find_images, names_of, read_frames, read_images, require_folder
from tfnerf.scenes.intrinsics import read_cameras
from tfnerf.scenes.scene import Scene, Views
from tfnerf.scenes.split import hold_out
from tfnerf.settings import SceneSettings

_log = logging.getLogger(__name__)
_MEAN_DISTANCE = 4.0
_MIN_LOOKING = 0.5
"""Share of the cameras that must look at what is taken for the middle of the scene."""


class UnknownRangeError(UserError):
    """Near and far cannot be told from the cameras."""


class Normalization(NamedTuple):
    """How a capture is moved and scaled, and where its rays begin and end."""

    origin: np.ndarray
    """[3], units of the file."""
    scale: float
    """Scene units per unit of the file."""
    near: float
    far: float


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Reads the capture; frames without an image are skipped, every Nth view is held out."""
    folder = require_folder(Path(settings.data_dir))
    path = folder / "transforms.json"
    content = read_json(path)
    frames, image_paths = _frames_with_images(content, path)
    images = read_images(image_paths, settings.factor)
    poses = check_poses(
        [frame.get("transform_matrix") for frame in frames],
        [f"{path}: {frame['file_path']}" for frame in frames],
    )
    normalization = normalize(poses, settings, path)
    poses[:, :, 3] = (poses[:, :, 3] - normalization.origin) * normalization.scale
    views = Views(
        images,
        255,
        read_cameras(poses, content, frames, images.shape[1:3], path),
        names_of(image_paths),
    )
    scene_to_world = np.diag([1 / normalization.scale] * 3 + [1])
    scene_to_world[:3, 3] = normalization.origin
    return Scene(
        name=folder.name,
        splits=hold_out(views, settings.holdout_every, splits),
        near=normalization.near,
        far=normalization.far,
        white_background=settings.white_background,
        pixel_centers=settings.pixel_centers,
        scene_to_world=scene_to_world,
    )


def normalize(poses: np.ndarray, settings: SceneSettings, path: Path) -> Normalization:
    """Works out from poses [V, 3, 4] how to move and scale a capture.

    Raises:
      UnknownRangeError: the cameras look at nothing in common, and --near and --far are not given.
    """
    point, convergence = meeting_point(poses)
    if convergence < MIN_CONVERGENCE:
        if settings.near is None or settings.far is None:
            raise UnknownRangeError(
                f"{path}: the cameras look the same way, so near and far cannot be told from "
                "them: set --near and --far in units of this file"
            )
        return Normalization(np.zeros(3), 1.0, settings.near, settings.far)
    range_is_given = settings.near is not None and settings.far is not None
    if not range_is_given and looking_at(poses, point).mean() < _MIN_LOOKING:
        raise UnknownRangeError(
            f"{path}: the cameras look away from where their axes meet, as in a room, so near and "
            "far cannot be told from them: set --near and --far as python -m tfnerf.inspect advises"
        )
    distances = np.linalg.norm(poses[:, :, 3] - point, axis=-1)
    scale = _MEAN_DISTANCE / distances.mean()
    return Normalization(point, scale, *depth_range(distances, scale))


def _frames_with_images(
    content: dict[str, Any], path: Path
) -> tuple[list[dict[str, Any]], list[Path]]:
    """The frames whose image is there, in the order of their names, and the images."""
    frames = sorted(read_frames(content, path), key=lambda frame: frame["file_path"])
    found = list(zip(frames, find_images(path.parent, [frame["file_path"] for frame in frames])))
    present = [(frame, image) for frame, image in found if image is not None]
    if len(present) < len(found):
        missing = next(frame["file_path"] for frame, image in found if image is None)
        _log.warning(
            "%s: %d of %d frames skipped, their images are missing (%s, ...)",
            path,
            len(found) - len(present),
            len(found),
            missing,
        )
    if not present:
        raise UserError(f"{path}: found no frame whose image is there")
    return [frame for frame, _ in present], [image for _, image in present]
