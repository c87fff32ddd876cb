"""Forward-facing (and inward-facing) captures: poses_bounds.npy and a folder of images."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import imageio.v3 as imageio
import numpy as np

from tfnerf.errors import UserError, first_line
from tfnerf.files import flush_folder, require_folder
from tfnerf.geometry.cameras import NDC, Cameras
from tfnerf.geometry.poses import (
    average_pose,
    check_poses,
    inward_frame,
    relative_to,
    scaled,
    to_4x4,
)
from tfnerf.scenes.files import list_files, list_images, names_of, read_image, read_images, shrink
from tfnerf.scenes.scene import Scene, Views
from tfnerf.scenes.split import hold_out
from tfnerf.settings import SceneSettings

_log = logging.getLogger(__name__)
_BOUNDS_SCALE = 0.75
"""The nearest point of a scene comes to lie at depth 1 / 0.75."""


class Normalized(NamedTuple):
    """Poses and bounds in scene units and axes."""

    poses: np.ndarray
    """[V, 3, 4]"""
    bounds: np.ndarray
    """[V, 2], nearest and farthest depth of each view."""
    scene_to_file: np.ndarray
    """[4, 4], from scene units and axes to those of the file."""


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Reads the scene; every Nth view, from the first on, is held out."""
    folder = require_folder(Path(settings.data_dir))
    path = folder / "poses_bounds.npy"
    file_poses, bounds, size = read_poses_bounds(path)
    image_paths, images = read_shrunken(folder, settings.factor)
    if len(image_paths) != len(file_poses):
        raise UserError(
            f"{path}: found {len(file_poses)} rows, expected {len(image_paths)}, one for each "
            f"image in {image_paths[0].parent}"
        )
    height, width = images.shape[1:3]
    expected = size[:2] / settings.factor
    if np.abs(expected - [height, width]).max() > 1:
        raise UserError(
            f"{image_paths[0].parent}: found images of {width} x {height} pixels, expected "
            f"{expected[1]:g} x {expected[0]:g} by {path.name} and --factor={settings.factor}"
        )
    try:
        normalized = normalize(file_poses, bounds, spherify=settings.spherify)
    except ValueError as error:
        raise UserError(f"{path}: the cameras have no average: {error}") from None
    focal = float(size[2] / settings.factor)
    views = Views(
        images=images,
        white_level=255,
        cameras=Cameras.pinhole(normalized.poses, height, width, focal),
        names=names_of(image_paths),
    )
    near, far = (0.0, 1.0) if settings.uses_ndc else depth_range(normalized.bounds)
    return Scene(
        name=folder.name,
        splits=hold_out(views, settings.holdout_every, splits),
        near=near,
        far=far,
        white_background=settings.white_background,
        pixel_centers=settings.pixel_centers,
        ndc=NDC(height, width, focal) if settings.uses_ndc else None,
        bounds=(float(normalized.bounds.min()), float(normalized.bounds.max())),
        scene_to_world=normalized.scene_to_file,
    )


def depth_range(bounds: np.ndarray) -> tuple[float, float]:
    """Near and far without NDC: [V, 2] bounds to 0.9 of the nearest, and the farthest."""
    return float(0.9 * bounds.min()), float(bounds.max())


def read_poses_bounds(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Reads poses_bounds.npy.

    Returns:
      Poses [V, 3, 4] (right, up, back, position), bounds [V, 2], and height, width, focal length
      [3] of the full-size images.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except Exception as error:  # damaged headers are met with errors of many kinds
        raise UserError(f"{path}: not readable as .npy: {first_line(error)}") from None
    if not isinstance(rows, np.ndarray) or rows.dtype.kind not in "fiu":
        raise UserError(f"{path}: expected an array of numbers")
    if rows.ndim != 2 or rows.shape[1] != 17 or not len(rows):
        raise UserError(f"{path}: found shape {rows.shape}, expected [V, 17]")
    rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        view = int(np.flatnonzero(~np.isfinite(rows).all(1))[0])
        raise UserError(f"{path}: row {view} has numbers that are not finite")
    matrices, bounds = rows[:, :15].reshape(-1, 3, 5), rows[:, 15:]
    if not (bounds[:, 0] > 0).all() or not (bounds[:, 0] < bounds[:, 1]).all():
        view = int(np.flatnonzero(~((bounds[:, 0] > 0) & (bounds[:, 0] < bounds[:, 1])))[0])
        raise UserError(
            f"{path}: row {view} has near {bounds[view, 0]:g} and far {bounds[view, 1]:g}, "
            "expected 0 < near < far"
        )
    if not (matrices[0, :, 4] > 0).all():
        raise UserError(f"{path}: height, width and focal length are {matrices[0, :, 4]}, not > 0")
    down, right, back, position = (matrices[:, :, column] for column in range(4))
    poses = np.stack([right, -down, back, position], -1)
    poses = check_poses(poses, [f"{path}: row {view}" for view in range(len(poses))])
    return poses, bounds, matrices[0, :, 4]


def normalize(
    poses: np.ndarray,
    bounds: np.ndarray,
    *,
    spherify: bool = False,
    recenter: bool = True,
    bounds_scale: float | None = _BOUNDS_SCALE,
) -> Normalized:
    """Brings a capture to the units and axes that the original trains in.

    Args:
      poses: [V, 3, 4], units of the file.
      bounds: [V, 2], the same.
      spherify: the cameras look inwards: their meeting point becomes the origin and their RMS
        distance from it 1.
      recenter: the average pose becomes the identity.
      bounds_scale: the nearest bound becomes 1 / bounds_scale; None: no scaling.
    """
    scale = 1.0 if bounds_scale is None else 1 / (bounds.min() * bounds_scale)
    poses, bounds = scaled(poses, scale), bounds * scale
    scene_to_file = np.diag([1 / scale, 1 / scale, 1 / scale, 1])
    if recenter:
        frame = average_pose(poses)
        poses = relative_to(frame, poses)
        scene_to_file = scene_to_file @ to_4x4(frame)
    if spherify:
        frame = inward_frame(poses)
        poses = relative_to(frame, poses)
        scale = 1 / np.sqrt(np.mean(np.sum(poses[:, :, 3] ** 2, -1)))
        poses, bounds = scaled(poses, scale), bounds * scale
        scene_to_file = (
            scene_to_file @ to_4x4(frame) @ np.diag([1 / scale, 1 / scale, 1 / scale, 1])
        )
    return Normalized(poses, bounds, scene_to_file)


def read_shrunken(folder: Path, factor: int) -> tuple[list[Path], np.ndarray]:
    """The images shrunk by a factor: those in `images_<factor>`, made from `images` if need be.

    Returns:
      The files, and what is in them [V, H, W, 3 or 4].
    """
    shrunken = folder / ("images" if factor == 1 else f"images_{factor}")
    full_size = folder / "images"
    if not shrunken.is_dir():
        if not full_size.is_dir():
            found = [path.name for path in list_files(folder) if path.name.startswith("images")]
            raise UserError(
                f"{shrunken}: no such folder, and no images to make it from; --factor={factor}, "
                f"found {', '.join(found) or 'no folder of images'}"
            )
        paths = _require_images(full_size)
        try:
            _make_shrunken(paths, shrunken, factor)
        except OSError as error:
            _log.warning("%s: not kept: %s", shrunken, error.strerror)
            return paths, read_images(paths, factor)
    paths = _require_images(shrunken)
    return paths, read_images(paths)


def _require_images(folder: Path) -> list[Path]:
    paths = list_images(folder)
    if not paths:
        raise UserError(f"{folder}: found no images")
    return paths


def _make_shrunken(paths: Sequence[Path], shrunken: Path, factor: int) -> None:
    """Fills `shrunken` with smaller copies; it appears when it is complete."""
    _log.info("shrinking %d images by %d into %s", len(paths), factor, shrunken)
    aside = Path(tempfile.mkdtemp(prefix=f".{shrunken.name}.", dir=shrunken.parent))
    try:
        for path in paths:
            imageio.imwrite(aside / f"{path.stem}.png", shrink(read_image(path), factor))
        aside.chmod(0o755)
        flush_folder(aside)
        aside.rename(shrunken)
    except OSError:
        if not shrunken.is_dir():  # else another process was faster
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
