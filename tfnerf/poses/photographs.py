"""The images of a capture: photographs, upright and of one size, or frames of a video."""

from __future__ import annotations

import collections
import dataclasses
import json
import logging
import re
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from tfnerf.errors import UserError, first_line
from tfnerf.files import flush_folder, make_folder, read_json, write_file
from tfnerf.poses.video import write_sharpest_frames
from tfnerf.poses.workplace import Workplace
from tfnerf.progress import progress_bar
from tfnerf.scenes.files import list_files, list_images

_log = logging.getLogger("tfnerf.poses")
_PHOTOGRAPHS = (
    *(".jpg", ".jpeg", ".png", ".heic", ".heif", ".avif", ".webp"),
    *(".tif", ".tiff", ".bmp"),
)
_ORIENTATION = 0x0112
"""Of EXIF."""
_KEPT = {"JPEG": (".jpg", ".jpeg"), "PNG": (".png",)}
"""Formats that are copied as they are."""
_QUALITY = 97
"""Of JPEGs that have to be written anew."""
_MIN_IMAGES = 3


@dataclasses.dataclass(frozen=True)
class Gathered:
    """What a capture is made of."""

    names: list[str]
    """Of the images, in order."""
    left_out: dict[str, str]
    """Why a file is no image of it, by name."""
    in_order: bool
    """Each image shows much of what the one before it does, as the frames of a video do."""
    has_masks: bool
    lying: frozenset[str]
    """Images that were turned by a quarter, counterclockwise, to be like the others."""


def gather_images(workplace: Workplace) -> Gathered:
    """Fills the folder of images, or finds it filled.

    Raises:
      UserError: fewer than three images, a mask that fits none, or nothing that can be read.
    """
    request = workplace.request
    if not workplace.images.is_dir():
        aside = workplace.images.with_name(".images.unfinished")
        shutil.rmtree(aside, ignore_errors=True)
        make_folder(aside)
        if request.num_frames is not None:
            write_sharpest_frames(Path(request.images), aside, request.num_frames)
            left_out: dict[str, str] = {}
            lying: set[str] = set()
        else:
            left_out, lying = _take_photographs(Path(request.images), aside)
        if request.masks is not None:
            _take_masks(Path(request.masks), aside, lying, workplace.masks)
        write_file(workplace.left_out, json.dumps(left_out, indent=2))
        write_file(workplace.lying, json.dumps({"images": sorted(lying)}))
        flush_folder(aside)
        aside.rename(workplace.images)
    names = [path.name for path in list_images(workplace.images)]
    if len(names) < _MIN_IMAGES:
        raise UserError(
            f"--images={request.images}: found {len(names)} images that can be used, expected at "
            f"least {_MIN_IMAGES}{_some_reasons(read_json(workplace.left_out))}"
        )
    return Gathered(
        names,
        {name: str(reason) for name, reason in read_json(workplace.left_out).items()},
        in_order=request.num_frames is not None,
        has_masks=request.masks is not None,
        lying=_lying(workplace),
    )


def _lying(workplace: Workplace) -> frozenset[str]:
    if not workplace.lying.exists():  # a call of an earlier version is taken up
        return frozenset()
    return frozenset(read_json(workplace.lying)["images"])


def _some_reasons(left_out: dict[str, str]) -> str:
    reasons = [f"{name}: {reason}" for name, reason in left_out.items()]
    return f" ({'; '.join(reasons[:3])}{'; ...' if len(reasons) > 3 else ''})" if reasons else ""


def _take_photographs(source: Path, target: Path) -> tuple[dict[str, str], set[str]]:
    """Copies photographs; returns why some were left out, by name, and which lie on their side."""
    paths = [path for path in list_files(source) if path.suffix.lower() in _PHOTOGRAPHS]
    paths = [path for path in paths if not path.name.startswith(".")]
    if not paths:
        raise UserError(f"--images={source}: found no photographs in this folder")
    _know_heif()
    left_out: dict[str, str] = {}
    sizes: dict[str, tuple[int, int]] = {}
    with progress_bar("photographs", len(paths), "image") as progress:
        for path in paths:
            try:
                taken = _take_photograph(path, target)
                sizes[taken.name] = _size_of(taken)
            except UserError as error:
                left_out[path.name] = str(error)
            progress(1)
    other_sizes, lying = _make_one_size(target, sizes)
    return left_out | other_sizes, lying


def _take_photograph(path: Path, target: Path) -> Path:
    """The copy of a photograph, upright; UserError says why there is none."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) != 1
            suffixes = _KEPT.get(image.format or "", ())
            as_it_is = not turned and path.suffix.lower() in suffixes and image.mode == "RGB"
            name = path.name if as_it_is else f"{path.stem}.{_suffix_for(image)}"
            taken = target / one_word(name)
            if taken.exists():
                raise UserError(f"another file was taken as {taken.name}")
            if as_it_is:
                image.load()  # raises where it is damaged
                shutil.copyfile(path, taken)
            else:
                upright = ImageOps.exif_transpose(image)
                has_alpha = upright.mode in ("RGBA", "LA", "PA")
                pixels = upright.convert("RGBA" if has_alpha else "RGB")
                pixels.save(taken, quality=_QUALITY, exif=upright.getexif())
    except UnidentifiedImageError:
        raise UserError("no image that can be read") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"damaged: {first_line(error)}") from None
    return taken


def one_word(name: str) -> str:
    """A name that stays whole in COLMAP's lists: a space would end it, a # make it a comment."""
    return re.sub(r"[\s#]", "_", name)


def _suffix_for(image: Image.Image) -> str:
    """What is written anew is lossless unless it was lossy before."""
    lossless = image.format not in ("JPEG", "MPO", "HEIF", "AVIF", "WEBP")
    return "png" if lossless or image.mode in ("RGBA", "LA", "PA") else "jpg"


def _know_heif() -> None:
    import pillow_heif

    pillow_heif.register_heif_opener()


def _size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _make_one_size(
    folder: Path, sizes: dict[str, tuple[int, int]]
) -> tuple[dict[str, str], set[str]]:
    """Removes images that are not of the size that most have, unless it is theirs on their side.

    Upright photographs among others come from the same lens, as which COLMAP takes them then.

    Returns:
      Why images were removed, by name, and the names of those that lie on their side.
    """
    left_out, lying = {}, set()
    counts = collections.Counter(sizes.values())
    usual = max(counts, key=counts.__getitem__, default=(0, 0))
    for name, size in sizes.items():
        if size == usual:
            continue
        if size == usual[::-1]:
            _lay_on_side(folder / name)
            lying.add(name)
            continue
        (folder / name).unlink()
        left_out[name] = f"{size[0]} x {size[1]} pixels, where most have {usual[0]} x {usual[1]}"
    if lying:
        _log.info("taken on their side, as most are: %s", ", ".join(sorted(lying)))
    return left_out, lying


def _lay_on_side(path: Path) -> None:
    """Turns an image by a quarter, counterclockwise."""
    with Image.open(path) as image:
        turned = image.transpose(Image.Transpose.ROTATE_90)
        turned.save(path, quality=_QUALITY, exif=image.getexif())


def _take_masks(source: Path, images: Path, lying: set[str], target: Path) -> None:
    """Writes a mask for each image, as COLMAP wants: white for those that have none.

    It says which masks are of no image.

    Args:
      source: folder of masks.
      images: folder of images.
      lying: those on their side, whose masks are upright.
      target: folder to write to.
    """
    found = list_images(source)
    # Of `a.heic`, whose image is `a.jpg`, it may be called `a.heic.png` too.
    masks = {Path(path.stem).stem: path for path in found if Path(path.stem).suffix}
    masks |= {path.stem: path for path in found} | {path.name: path for path in found}
    masks = {one_word(name): path for name, path in masks.items()} | masks
    make_folder(target)
    taken: set[Path | None] = set()
    for image in list_images(images):
        path = masks.get(f"{image.name}.png") or masks.get(image.stem)
        if path is None:
            mask = np.ones(_size_of(image)[::-1], bool)
        else:
            mask = _read_mask(path, image, image.name in lying)
        Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0))).save(
            target / f"{image.name}.png"
        )
        taken.add(path)
    if not taken - {None}:
        raise UserError(f"--masks={source}: found no mask that is named as an image is")
    names = [path.name for path in list_files(source) if path not in taken]
    unused = [name for name in names if not name.startswith(".")]
    if unused:
        _log.warning("%s: masks of no image that is taken: %s", source, ", ".join(unused))


def _read_mask(path: Path, image: Path, lies: bool) -> np.ndarray:
    """Where a mask is white, [H, W] bool, of an image that may lie on its side."""
    try:
        with Image.open(path) as mask:
            upright = np.asarray(ImageOps.exif_transpose(mask).convert("L"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: damaged mask: {first_line(error)}") from None
    width, height = _size_of(image)[::-1] if lies else _size_of(image)
    if upright.shape != (height, width):
        raise UserError(
            f"{path}: found {upright.shape[1]} x {upright.shape[0]} pixels, expected {width} x "
            f"{height} as in {image.name}"
        )
    return (np.rot90(upright) if lies else upright) > 127
