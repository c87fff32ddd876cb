"""Reading what scenes are made of; whatever is wrong names the file in one line."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from tfnerf.errors import UserError
from tfnerf.files import require_folder

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")


def read_number(content: dict[str, Any], key: str, path: Path) -> float:
    """A finite number of a JSON object."""
    value: Any = content.get(key)
    try:
        numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
        number = float(value) if numeric else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{path}: {key} is {value!r:.40}, expected a finite number")
    return number


def read_frames(content: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The frames of a transforms file, each with a file_path."""
    frames = content.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise UserError(f"{path}: expected a list of objects named frames")
    for number, frame in enumerate(frames):
        if not isinstance(frame.get("file_path"), str):
            found = frame.get("file_path")
            raise UserError(f"{path}: file_path of frame {number} is {found!r}, expected a text")
    return frames


def find_images(folder: Path, names: Sequence[str]) -> list[Path | None]:
    """The image files that names in a transforms file mean; None where there is none.

    Names may leave the suffix out, have one of another case, or have backslashes.

    Raises:
      UserError: two files could be meant.
    """
    listings: dict[Path, list[Path]] = {}
    return [_find_image(folder, name, listings) for name in names]


def _find_image(folder: Path, name: str, listings: dict[Path, list[Path]]) -> Path | None:
    path = folder / name
    if not _is_file(path):
        path = folder / name.replace("\\", "/")
    if _is_file(path):
        return path
    if path.parent not in listings:
        listings[path.parent] = list_images(path.parent) if path.parent.is_dir() else []
    meant = [file for file in listings[path.parent] if _may_mean(path, file)]
    if len(meant) > 1:
        raise UserError(
            f"{path}: no such image, and both {meant[0].name} and {meant[1].name} could be meant"
        )
    return meant[0] if meant else None


def _may_mean(path: Path, file: Path) -> bool:
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return (file.stem, file.suffix.lower()) == (path.stem, path.suffix.lower())
    return file.stem == path.name


def _is_file(path: Path) -> bool:
    """False too for names that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_image(path: Path) -> np.ndarray:
    """An image file as [H, W, 3 or 4] uint8; four channels if it has transparency."""
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise UserError(f"{path}: found pixels of mode {image.mode}, expected 8 bits")
            transparent = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
            return np.asarray(image.convert("RGBA" if transparent else "RGB"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise UserError(f"{path}: not an image that can be read") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: damaged image: {error}") from None


def read_images(paths: Sequence[Path], factor: int = 1) -> np.ndarray:
    """Image files of one size as [V, H, W, 3 or 4] uint8, each shrunk by `factor`."""

    def read(path: Path) -> np.ndarray:
        return shrink(read_image(path), factor)

    with ThreadPoolExecutor() as pool:
        images = list(pool.map(read, paths))
    channels = max((image.shape[-1] for image in images), default=3)
    for path, image in zip(paths, images):
        if image.shape[:2] != images[0].shape[:2]:
            raise UserError(
                f"{path}: found {_size(image)} pixels, expected {_size(images[0])} as in "
                f"{paths[0].name}"
            )
    images = [image if image.shape[-1] == channels else _opaque(image) for image in images]
    return np.stack(images) if images else np.zeros([0, 1, 1, 3], np.uint8)


def shrink(image: np.ndarray, factor: int) -> np.ndarray:
    """An image [H, W, C] made smaller by averaging, [round(H / factor), round(W / factor), C]."""
    if factor == 1:
        return image
    height, width = (max(1, round(side / factor)) for side in image.shape[:2])
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def list_images(folder: Path) -> list[Path]:
    """The image files of a folder, by name."""
    return [path for path in list_files(folder) if _is_image(path)]


def list_files(folder: Path) -> list[Path]:
    """What is in a folder, by name."""
    try:
        return sorted(require_folder(folder).iterdir())
    except OSError as error:
        raise UserError(f"{folder}: not readable: {error.strerror}") from None


def names_of(paths: Sequence[Path]) -> tuple[str, ...]:
    """A name for each file: without folder and suffix, unless that would make some the same."""
    names = [path.stem for path in paths]
    if len(set(names)) < len(names):
        folder = Path(os.path.commonpath(paths))
        names = ["_".join(path.relative_to(folder).parts) for path in paths]
    if len(set(names)) < len(names):
        names = [f"{index:04d}_{name}" for index, name in enumerate(names)]
    return tuple(names)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _opaque(image: np.ndarray) -> np.ndarray:
    """[H, W, 3] to [H, W, 4]."""
    return np.concatenate([image, np.full_like(image[..., :1], 255)], -1)


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
