"""The synthetic scenes of the paper: transforms_{train,val,test}.json and RGBA images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import read_json, require_folder
from tfnerf.geometry.poses import check_poses, meeting_point
from tfnerf.scenes.captures import require_known_range
from tfnerf.scenes.conditions import KEYS, read_conditions
from tfnerf.scenes.extent import depth_range
from tfnerf.scenes.files import find_images, list_files, names_of, read_frames, read_images
from tfnerf.scenes.intrinsics import read_cameras
from tfnerf.scenes.masks import read_masks
from tfnerf.scenes.scene import Scene, Views
from tfnerf.settings import SceneSettings

_log = logging.getLogger(__name__)
_NEAR, _FAR = 2.0, 6.0


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Reads the given splits; val and test may be absent."""
    folder = require_folder(Path(settings.data_dir))
    present = [
        split
        for split in splits
        if split == "train" or folder / f"transforms_{split}.json" in list_files(folder)
    ]
    views = {split: _load_split(folder, split, settings) for split in present}
    near, far = _range(views, folder, settings)
    return Scene(
        name=folder.name,
        splits=views,
        near=near,
        far=far,
        white_background=settings.white_background,
        pixel_centers=settings.pixel_centers,
    )


def _range(views: dict[str, Views], folder: Path, settings: SceneSettings) -> tuple[float, float]:
    """Near and far: those of the published scenes, unless the scene is not between them.

    The training views tell, whichever are read, so that all are rendered alike.
    """
    path = folder / "transforms_train.json"
    if "train" in views:
        poses = views["train"].cameras.camera_to_world
    elif path in list_files(folder):
        poses = _poses(read_frames(read_json(path), path), path).astype(np.float32)
    else:
        return _NEAR, _FAR
    poses = poses.astype(np.float64)
    if settings.near is not None and settings.far is not None:
        return settings.near, settings.far
    if len(poses) > 1:  # of one nothing can be told
        require_known_range(poses, path)
    point, _ = meeting_point(poses)
    distances = np.linalg.norm(poses[:, :, 3] - point, axis=-1)
    if len(poses) == 1 or _NEAR <= np.median(distances) <= _FAR:
        return _NEAR, _FAR
    near, far = depth_range(distances)
    _log.warning(
        "%s: the cameras are %.3g to %.3g from what they look at, so rays go from %.3g to %.3g and "
        "not from %g to %g as in the published scenes; --near and --far say otherwise",
        *(path, distances.min(), distances.max(), near, far, _NEAR, _FAR),
    )
    return near, far


def _poses(frames: Sequence[dict[str, Any]], path: Path) -> np.ndarray:
    """The poses [V, 3, 4] of frames."""
    if not frames:
        raise UserError(f"{path}: found no frames, expected at least one")
    return check_poses(
        [frame.get("transform_matrix") for frame in frames],
        [f"{path}: frame {number}" for number in range(len(frames))],
    )


def _load_split(folder: Path, split: str, settings: SceneSettings) -> Views:
    path = folder / f"transforms_{split}.json"
    content = read_json(path)
    frames = read_frames(content, path)
    skip = 1 if split == "train" else settings.test_skip
    for_all = {key: content[key] for key in ("mask_path",) if key in content}
    frames = [{**for_all, **frame} for frame in frames[::skip]]
    poses = _poses(frames, path)
    names = [frame["file_path"] for frame in frames]
    image_paths = [image or folder / name for image, name in zip(find_images(folder, names), names)]
    images, level = read_images(image_paths), 255
    full_size = images.shape[1:3]
    if settings.half_res:
        images, level = _halve(images, settings, path)
    size = images.shape[1:3]
    cameras = read_cameras(
        poses, content, frames, size, path, full_size, used=["mask_path", *KEYS]
    ).under(read_conditions(frames, settings, path))
    indices = skip * np.arange(len(frames))
    masks = read_masks(folder, frames, image_paths, size)
    return Views(images, level, cameras, names_of(image_paths), indices, masks)


def _halve(images: np.ndarray, settings: SceneSettings, path: Path) -> tuple[np.ndarray, int]:
    """Images of half the size and the integer that stands for 1 in them.

    The sum of four pixels of 8 bits is kept, so nothing is rounded.
    """
    if images.shape[1] % 2 or images.shape[2] % 2:
        raise UserError(f"{path}: --half_res needs images of even size, found {images.shape[1:3]}")
    return np.stack([_halve_image(image, settings) for image in images]), 4 * 255


def _halve_image(image: np.ndarray, settings: SceneSettings) -> np.ndarray:
    """[H, W, C] uint8 to [H / 2, W / 2, C] uint16: sums of 2 x 2 pixels."""
    if image.shape[-1] == 4 and settings.white_background and not settings.resize_straight_alpha:
        image = _on_white(image)
    height, width, channels = image.shape
    blocks = image.reshape(height // 2, 2, width // 2, 2, channels)
    return np.rint(blocks.sum((1, 3), dtype=np.float32)).astype(np.uint16)


def _on_white(image: np.ndarray) -> np.ndarray:
    """[H, W, 4] uint8 to [H, W, 3] float32, 0 to 255."""
    rgb, alpha = image[..., :3].astype(np.float32), image[..., 3:].astype(np.float32)
    return rgb * (alpha / 255) + (255 - alpha)
