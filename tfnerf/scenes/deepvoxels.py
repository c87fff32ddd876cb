"""The DeepVoxels scenes: <data_dir>/<split>/<shape>/ with intrinsics.txt, pose/ and rgb/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import require_folder
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import check_poses
from tfnerf.scenes.files import list_files, list_images, names_of, read_images
from tfnerf.scenes.scene import Scene, Views
from tfnerf.settings import SceneSettings

_SPLIT_FOLDERS = {"train": "train", "val": "validation", "test": "test"}
_DEPTH_MARGIN = 1.0
"""Near and far lie this much before and behind the mean distance of the cameras."""


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Reads the given splits of one shape; val and test may be absent."""
    base = require_folder(Path(settings.data_dir))
    views = {}
    for split in splits:
        folder = base / _SPLIT_FOLDERS[split] / settings.shape
        if split == "train" or folder.is_dir():
            views[split] = _load_split(folder, 1 if split == "train" else settings.test_skip)
    train_poses = _read_poses(_list_poses(base / "train" / settings.shape))
    distance = float(np.mean(np.linalg.norm(train_poses[:, :, 3], axis=-1)))
    return Scene(
        name=settings.shape,
        splits=views,
        near=distance - _DEPTH_MARGIN,
        far=distance + _DEPTH_MARGIN,
        white_background=settings.white_background,
        pixel_centers=settings.pixel_centers,
    )


def _load_split(folder: Path, skip: int) -> Views:
    require_folder(folder)
    image_paths = list_images(folder / "rgb")
    pose_paths = _list_poses(folder)
    unpaired = {path.stem for path in image_paths} ^ {path.stem for path in pose_paths}
    if unpaired or not image_paths:
        raise UserError(
            f"{folder}: found {len(image_paths)} images and {len(pose_paths)} poses, expected one "
            f"pose for each image (see {', '.join(sorted(unpaired)[:3]) or 'rgb'})"
        )
    image_paths, pose_paths = image_paths[::skip], pose_paths[::skip]
    images = read_images(image_paths)
    height, width = images.shape[1:3]
    focal = _read_focal(folder / "intrinsics.txt", height)
    return Views(
        images=images,
        white_level=255,
        cameras=Cameras.pinhole(_read_poses(pose_paths), height, width, focal),
        names=names_of(image_paths),
        indices=skip * np.arange(len(images)),
    )


def _list_poses(folder: Path) -> list[Path]:
    return [path for path in list_files(folder / "pose") if path.suffix == ".txt"]


def _read_poses(paths: Sequence[Path]) -> np.ndarray:
    """[V, 3, 4]; the files have y down and z forwards."""
    matrices = []
    for path in paths:
        numbers = _read_numbers(path)
        if len(numbers) != 16:
            raise UserError(f"{path}: found {len(numbers)} numbers, expected the 16 of a pose")
        matrices.append(np.reshape(numbers, [4, 4]))
    return check_poses(matrices, [str(path) for path in paths]) * [1, -1, -1, 1]


def _read_focal(path: Path, height: int) -> float:
    """The focal length, in pixels of images of the given height.

    The first line of the file holds focal length and principal point (the latter was not used by
    the original), the fifth the height and width of the images that they are for.
    """
    numbers = [_numbers_of(line, path) for line in _read_text(path).splitlines()]
    try:
        focal, full_height = numbers[0][0], numbers[4][0]
    except IndexError:
        raise UserError(f"{path}: found {len(numbers)} lines, expected intrinsics") from None
    if not (focal > 0 and full_height > 0):
        raise UserError(f"{path}: focal length {focal:g}, height {full_height:g}: not positive")
    return focal * height / full_height


def _read_numbers(path: Path) -> list[float]:
    return _numbers_of(_read_text(path), path)


def _numbers_of(text: str, path: Path) -> list[float]:
    try:
        return [float(word) for word in text.split()]
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable: {error}") from None
