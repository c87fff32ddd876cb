"""Masks: which pixels of photographs count."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfnerf.errors import UserError
from tfnerf.scenes.files import find_images, read_image, shrink

_OF_INSTANT_NGP = "dynamic_mask_"
"""How names begin of masks that lie beside images and are white where something moves."""


def read_masks(
    folder: Path, frames: Sequence[dict[str, Any]], images: Sequence[Path], size: tuple[int, int]
) -> np.ndarray | None:
    """The masks of frames.

    Those that `mask_path` names are black where nothing counts (nerfstudio's), and those that lie
    beside the images as `dynamic_mask_<name>.png` are black where it does (instant-ngp's).

    Args:
      folder: that names in frames begin at.
      frames: V of them.
      images: of the frames.
      size: height and width that the images were read in, pixels.

    Returns:
      [V, H, W] bool, which pixels count: of shrunken images those all of whose pixels do. None if
      there are no masks.

    Raises:
      UserError: a mask is missing, damaged or of another shape, or leaves nothing.
    """
    masks = [_mask_of(folder, frame, image, size) for frame, image in zip(frames, images)]
    if all(mask is None for mask in masks):
        return None
    return np.stack([np.ones(size, bool) if mask is None else mask for mask in masks])


def _mask_of(
    folder: Path, frame: dict[str, Any], image: Path, size: tuple[int, int]
) -> np.ndarray | None:
    mask = None
    name = frame.get("mask_path")
    if name is not None:
        if not isinstance(name, str):
            raise UserError(f"{folder}: mask_path is {name!r:.40}, expected a text")
        path = find_images(folder, [name])[0]
        if path is None:
            raise UserError(f"{folder / name}: no such mask, and {frame['file_path']} names it")
        mask = _read(path, size)
    dynamic = image.with_name(f"{_OF_INSTANT_NGP}{image.stem}.png")
    if dynamic.is_file():
        still = _read(dynamic, size, inverted=True)
        mask = still if mask is None else mask & still
    if mask is not None and not mask.any():
        raise UserError(f"{image}: its mask leaves no pixel of it")
    return mask


def _read(path: Path, size: tuple[int, int], *, inverted: bool = False) -> np.ndarray:
    pixels = read_image(path)[..., :3].max(-1, keepdims=True)
    counts = pixels == 0 if inverted else pixels > 127
    height, width = size
    factor = round(counts.shape[0] / height)
    shrunk = shrink(np.repeat(np.where(counts, np.uint8(255), np.uint8(0)), 3, -1), max(factor, 1))
    if shrunk.shape[:2] != size:
        raise UserError(
            f"{path}: found {counts.shape[1]} x {counts.shape[0]} pixels, expected as many as the "
            f"image, or {width} x {height}"
        )
    mask: np.ndarray = shrunk[..., 0] == 255
    return mask
