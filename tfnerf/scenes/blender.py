"""The synthetic scenes of the paper: transforms_{train,val,test}.json and RGBA images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import read_json
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import check_poses
from tfnerf.scenes.files import (
    list_files,
    names_of,
    read_frames,
    read_images,
    read_number,
    require_folder,
)
from tfnerf.scenes.scene import Scene, Views
from tfnerf.settings import SceneSettings

_NEAR, _FAR = 2.0, 6.0


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Reads the given splits; val and test may be absent."""
    folder = require_folder(Path(settings.data_dir))
    present = [
        split
        for split in splits
        if split == "train" or folder / f"transforms_{split}.json" in list_files(folder)
    ]
    return Scene(
        name=folder.name,
        splits={split: _load_split(folder, split, settings) for split in present},
        near=_NEAR,
        far=_FAR,
        white_background=settings.white_background,
        pixel_centers=settings.pixel_centers,
    )


def _load_split(folder: Path, split: str, settings: SceneSettings) -> Views:
    path = folder / f"transforms_{split}.json"
    content = read_json(path)
    frames = read_frames(content, path)
    skip = 1 if split == "train" else settings.test_skip
    frames = frames[::skip]
    if not frames:
        raise UserError(f"{path}: found no frames, expected at least one")
    angle = read_number(content, "camera_angle_x", path)
    if not 0 < angle < np.pi:
        raise UserError(f"{path}: camera_angle_x is {angle}, expected radians from 0 to pi")
    poses = check_poses(
        [frame.get("transform_matrix") for frame in frames],
        [f"{path}: frame {number}" for number in range(len(frames))],
    )
    image_paths = [_image_path(folder, frame["file_path"]) for frame in frames]
    images, level = read_images(image_paths), 255
    if settings.half_res:
        images, level = _halve(images, settings, path)
    height, width = images.shape[1:3]
    focal = 0.5 * width / np.tan(0.5 * angle)
    cameras = Cameras.pinhole(poses, height, width, focal)
    indices = skip * np.arange(len(frames))
    return Views(images, level, cameras, names_of(image_paths), indices)


def _image_path(folder: Path, file_path: str) -> Path:
    """The released scenes leave the suffix out; scenes made by others have it."""
    path = folder / file_path
    return path if path.suffix == ".png" else path.with_name(path.name + ".png")


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
