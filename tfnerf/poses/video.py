"""Frames of a video: of each part the sharpest one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tfnerf.errors import UserError, first_line
from tfnerf.images import sharpness
from tfnerf.progress import progress_bar

if TYPE_CHECKING:
    from av.container import InputContainer

_MEASURED_WIDTH = 640
"""Pixels; sharpness of larger frames is measured on smaller ones."""
_QUALITY = 97


def write_sharpest_frames(path: Path, folder: Path, most: int) -> None:
    """Writes frames as JPEG, upright.

    Args:
      path: a video.
      folder: where to.
      most: how many: the video is cut into as many parts, and each gives one; all where there are
        fewer.

    Raises:
      UserError: it is no video.
    """
    import av

    try:
        with av.open(str(path)) as container:
            total = _num_frames(container, path)
        with av.open(str(path)) as container:
            _write_frames(container, folder, total, min(most, total))
    except av.FFmpegError as error:
        raise UserError(
            f"--images={path}: no video that can be read: {first_line(error)}"
        ) from None


def _num_frames(container: InputContainer, path: Path) -> int:
    """Counted, since what a file says of it is often wrong."""
    if not container.streams.video:
        raise UserError(f"--images={path}: found no pictures in this file, expected a video")
    stream = container.streams.video[0]
    return sum(packet.size > 0 for packet in container.demux(stream))


def _write_frames(container: InputContainer, folder: Path, total: int, count: int) -> None:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    best: tuple[float, np.ndarray] | None = None
    part = 0
    with progress_bar("frames", total, "frame") as progress:
        for index, frame in enumerate(container.decode(stream)):
            now = min(index * count // total, count - 1)
            if now > part and best is not None:
                _write(folder, part, best[1])
                best = None
            part = now
            value = _sharpness_of(frame)
            if best is None or value > best[0]:
                best = value, _upright(frame)
            progress(1)
    if best is not None:
        _write(folder, part, best[1])


def _sharpness_of(frame: Any) -> float:
    scale = min(1.0, _MEASURED_WIDTH / frame.width)
    size = {"width": round(frame.width * scale), "height": round(frame.height * scale)}
    gray = frame.reformat(**size, format="gray").to_ndarray()
    return sharpness(gray.astype(np.float32))


def _upright(frame: Any) -> np.ndarray:
    """[H, W, 3] uint8, as players show it: phones record sideways and say so."""
    pixels = frame.to_ndarray(format="rgb24")
    return np.rot90(pixels, round(frame.rotation / 90))


def _write(folder: Path, number: int, pixels: np.ndarray) -> None:
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.save(folder / f"frame_{number:05d}.jpg", quality=_QUALITY)
