"""What captures of all formats have in common: from frames with poses to a scene.

A capture that is walked around is moved and scaled so that the point that the cameras look at is
the origin and their mean distance from it is 4, much like the synthetic scenes that the published
settings are for. One that is looked at from before is brought to where LLFF's scenes are, and
sampled in NDC.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfnerf.errors import UserError
from tfnerf.geometry.cameras import NDC
from tfnerf.geometry.poses import (
    MIN_CONVERGENCE,
    average_pose,
    check_poses,
    looking_at,
    meeting_point,
    scale_of,
    to_4x4,
    transformed,
)
from tfnerf.scenes.conditions import read_conditions
from tfnerf.scenes.extent import depth_range
from tfnerf.scenes.files import names_of, read_images, read_number
from tfnerf.scenes.intrinsics import read_cameras
from tfnerf.scenes.masks import read_masks
from tfnerf.scenes.scene import Scene, Views
from tfnerf.scenes.split import LISTS, split_views
from tfnerf.settings import SceneSettings

_log = logging.getLogger(__name__)
_MEAN_DISTANCE = 4.0
_MIN_LOOKING = 0.5
"""Share of the cameras that must look at what is taken for the middle of the scene."""
_NEAR_FRACTION, _FAR_FRACTION = 0.8, 1.25
"""Near and far as multiples of the nearest and farthest depth of what is seen."""
_NDC_NEAR = 0.75
"""The same before NDC, whose near plane is at depth 1 (the value of LLFF's scenes)."""

_AHEAD = 0.5
"""Cosine of the angle within which cameras look the same way."""
_KEYS = {"near", "far", "mask_path", "time", *LISTS.values()}
"""Of transforms files, that are read here."""


class UnknownRangeError(UserError):
    """Near and far cannot be told from the cameras."""


class Frames(NamedTuple):
    """What a capture is made of."""

    path: Path
    """Of the file that it stands in."""
    content: dict[str, Any]
    """What holds for all frames, by the keys of transforms files."""
    frames: list[dict[str, Any]]
    """By the same keys, in the order of their names."""
    images: list[Path]
    """Of the frames."""


class _Placement(NamedTuple):
    """How a capture is moved and scaled, and where its rays begin and end."""

    to_scene: np.ndarray
    """[4, 4], from units and axes of the file to those of the scene."""
    near: float
    far: float
    ndc: bool = False


def load_capture(
    capture: Frames,
    settings: SceneSettings,
    splits: Sequence[str],
    *,
    images: np.ndarray | None = None,
) -> Scene:
    """Reads the images of a capture, and makes a scene of it.

    Args:
      capture: its frames.
      settings: how to read it.
      splits: the views wanted.
      images: [V, H, W, C], where they were read already.

    Raises:
      UnknownRangeError: near and far cannot be told, and are not given.
      UserError: something else is missing or wrong.
    """
    path, content, frames, image_paths = capture
    frames = [{**_of_all(content), **frame} for frame in frames]
    if images is None:
        images = read_images(image_paths, settings.factor)
    size = images.shape[1:3]
    poses = check_poses(
        [frame.get("transform_matrix") for frame in frames],
        [f"{path}: {frame['file_path']}" for frame in frames],
    )
    bounds = _read_bounds(frames, path)
    placement = _place(poses, bounds, settings, path)
    moved = transformed(placement.to_scene, poses)
    cameras = read_cameras(moved, content, frames, size, path, used=_KEYS).under(
        read_conditions(_times_alone(frames), settings, path)
    )
    if placement.ndc and cameras.lens != "perspective":
        raise UserError(f"{path}: {cameras.lens} cameras see what NDC do not hold: give --nondc")
    views = Views(
        images,
        255,
        cameras,
        names_of(image_paths),
        masks=read_masks(path.parent, frames, image_paths, size),
    )
    scale = scale_of(placement.to_scene)
    height, width = size
    return Scene(
        name=path.parent.name,
        splits=split_views(views, content, frames, settings, splits, path),
        near=placement.near,
        far=placement.far,
        white_background=settings.white_background,
        pixel_centers=settings.pixel_centers,
        ndc=NDC(height, width, float(cameras.focal.mean())) if placement.ndc else None,
        bounds=None if bounds is None else _range(bounds * scale),
        scene_to_world=np.linalg.inv(placement.to_scene),
    )


def _of_all(content: dict[str, Any]) -> dict[str, Any]:
    """What frames may say that stands once for all of them."""
    return {key: content[key] for key in ("near", "far", "mask_path") if key in content}


def _times_alone(frames: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Frames without their lights, which are not looked at from the middle of the scene here."""
    return [{key: frame[key] for key in ("file_path", "time") if key in frame} for frame in frames]


def usual_depth(bounds: np.ndarray) -> float:
    """How far what views show is for the most part, of nearest and farthest depths [K, 2]."""
    return float(np.sqrt(bounds.prod(-1)).mean())


def look_the_same_way(poses: np.ndarray) -> bool:
    """Whether the axes of cameras [V, 3, 4] are too near to parallel to meet anywhere."""
    return meeting_point(poses)[1] < MIN_CONVERGENCE


def look_inwards(poses: np.ndarray) -> bool:
    """Whether most cameras [V, 3, 4] look at where their axes meet."""
    point, _ = meeting_point(poses)
    return not look_the_same_way(poses) and bool(looking_at(poses, point).mean() >= _MIN_LOOKING)


def require_known_range(poses: np.ndarray, path: Path) -> None:
    """Raises UnknownRangeError if near and far cannot be told from cameras [V, 3, 4]."""
    if look_the_same_way(poses):
        raise UnknownRangeError(
            f"{path}: the cameras look the same way, so near and far cannot be told from them: set "
            "--near and --far in units of this file"
        )
    if not look_inwards(poses):
        raise UnknownRangeError(
            f"{path}: the cameras look away from where their axes meet, as in a room, so near and "
            "far cannot be told from them: set --near and --far as python -m tfnerf.inspect advises"
        )


def _read_bounds(frames: Sequence[dict[str, Any]], path: Path) -> np.ndarray | None:
    """Nearest and farthest depth of what each frame shows, [K, 2]; None if none says."""
    saying = [frame for frame in frames if "near" in frame or "far" in frame]
    bounds = np.array(
        [[read_number(frame, key, path) for key in ("near", "far")] for frame in saying]
    )
    for frame, (near, far) in zip(saying, bounds):
        if not 0 < near < far:
            raise UserError(
                f"{path}: {frame['file_path']}: near and far are {near:g} and {far:g}, expected "
                "0 < near < far"
            )
    return bounds if len(bounds) else None


def _range(bounds: np.ndarray) -> tuple[float, float]:
    return float(bounds[:, 0].min()), float(bounds[:, 1].max())


def _place(
    poses: np.ndarray, bounds: np.ndarray | None, settings: SceneSettings, path: Path
) -> _Placement:
    """Works out how to move and scale a capture.

    Args:
      poses: [V, 3, 4], units of the file.
      bounds: [K, 2], depths of what is seen; None: nothing says.
      settings: how to read it.
      path: names it in errors.
    """
    given = None
    if settings.near is not None and settings.far is not None:
        given = settings.near, settings.far
    point, _ = meeting_point(poses)
    forward, inward = look_the_same_way(poses), look_inwards(poses)
    if settings.ndc or (settings.ndc is None and forward and bounds is not None and not given):
        return _place_in_ndc(poses, bounds, path)
    if not inward and bounds is not None:
        return _place_around(poses.mean(0)[:, 3], usual_depth(bounds), bounds)
    if forward and given:
        return _Placement(np.eye(4), *given)
    if not given:
        require_known_range(poses, path)
    distances = np.linalg.norm(poses[:, :, 3] - point, axis=-1)
    placement = _place_around(point, float(distances.mean()), bounds)
    if bounds is None:
        near, far = depth_range(distances, scale_of(placement.to_scene))
        return placement._replace(near=near, far=far)
    return placement


def _place_around(origin: np.ndarray, distance: float, bounds: np.ndarray | None) -> _Placement:
    """What is so far away comes to lie 4 away."""
    scale = _MEAN_DISTANCE / distance
    to_scene = np.diag([scale] * 3 + [1])
    to_scene[:3, 3] = -scale * origin
    near, far = (0.0, 1.0) if bounds is None else _range(bounds * scale)
    return _Placement(to_scene, _NEAR_FRACTION * near, _FAR_FRACTION * far)


def _place_in_ndc(poses: np.ndarray, bounds: np.ndarray | None, path: Path) -> _Placement:
    """As LLFF's scenes: seen from the average camera, the nearest bound at 1 / 0.75."""
    if bounds is None:
        raise UserError(f"{path}: --ndc needs near and far in the frames, as tfnerf.poses writes")
    scale = np.diag([1 / (_NDC_NEAR * bounds[:, 0].min())] * 3 + [1])
    try:
        frame = average_pose(poses)
    except ValueError as error:
        raise UserError(f"{path}: the cameras have no average: {error}") from None
    if not (poses[:, :, 2] @ frame[:, 2] > _AHEAD).all():
        raise UserError(f"{path}: --ndc is for cameras that look the same way")
    return _Placement(scale @ np.linalg.inv(to_4x4(frame)), 0.0, 1.0, ndc=True)
