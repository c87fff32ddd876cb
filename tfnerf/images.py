"""Images as files: 8 bits, PNG, colours for depth and error."""

from __future__ import annotations

import io
from collections.abc import Iterable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import write_file

WORLD_DEPTH = "world_depth"
"""Folder of depths as numbers, beside pictures."""
_MAX_VIDEO_SIDE = 16_384
"""Of H.264, pixels."""


def to_8bit(values: np.ndarray) -> np.ndarray:
    """Values from 0 to 1 to uint8, rounded; what lies outside is clipped."""
    return np.rint(255 * np.clip(values, 0, 1)).astype(np.uint8)


def truncated_to_8bit(values: np.ndarray) -> np.ndarray:
    """The same as the original saves it: not rounded, so a little darker."""
    return (255 * np.clip(values, 0, 1)).astype(np.uint8)


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes [H, W], [H, W, 3] or [H, W, 4] unsigned integers; UserError if that fails."""
    buffer = io.BytesIO()
    imageio.imwrite(buffer, pixels, extension=".png")
    write_file(path, buffer.getvalue())


def write_video(path: Path, frames: Iterable[np.ndarray], frames_per_second: int) -> None:
    """Writes an MP4 (H.264) of equally large frames [H, W, 3] uint8; UserError if that fails."""
    buffer = io.BytesIO()
    with imageio.imopen(buffer, "w", plugin="pyav", extension=".mp4") as video:
        video.init_video_stream("libx264", fps=frames_per_second, pixel_format="yuv420p")
        for frame in frames:
            height, width = frame.shape[:2]
            if max(height, width) > _MAX_VIDEO_SIDE:
                raise UserError(
                    f"{path}: frames of {width} x {height} pixels, expected at most "
                    f"{_MAX_VIDEO_SIDE} a side in a video"
                )
            video.write_frame(_even(frame))
    write_file(path, buffer.getvalue())


def _even(frame: np.ndarray) -> np.ndarray:
    """With the last row and column again where their number is odd, which H.264 refuses."""
    height, width = frame.shape[:2]
    return np.pad(frame, [(0, height % 2), (0, width % 2), (0, 0)], mode="edge")


def sharpness(gray: np.ndarray) -> float:
    """How sharp an image [H, W] is: the variance of its Laplacian, in its own units."""
    inner = gray[1:-1, 1:-1]
    neighbours = gray[:-2, 1:-1] + gray[2:, 1:-1] + gray[1:-1, :-2] + gray[1:-1, 2:]
    return float((neighbours - 4 * inner).var())


def depth_files(path: Path) -> list[Path]:
    """What `write_depth` writes."""
    return [path.with_name(f"{path.name}.{suffix}") for suffix in ("npy", "png")]


def write_depth(path: Path, depth: np.ndarray, per_level: float) -> None:
    """Writes depths [H, W] as `path`.npy, float32, and `path`.png, 16 bits.

    Args:
      path: but for the suffix.
      depth: at least 0; 0 stands for nothing.
      per_level: what one level of the PNG stands for; what is farther than 65535 of them is 65535.
    """
    buffer = io.BytesIO()
    np.save(buffer, depth.astype(np.float32), allow_pickle=False)
    numbers, picture = depth_files(path)
    write_file(numbers, buffer.getvalue())
    levels = np.clip(np.rint(depth / per_level), 0, 65535).astype(np.uint16)
    write_png(picture, levels)


def opaque_depth(depth: np.ndarray, opacity: np.ndarray, far: float) -> np.ndarray:
    """Depths [H, W] before a backdrop: what is transparent shows the far plane."""
    return depth + (1 - opacity) * far


def color_depth(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """Depths [H, W] as colours [H, W, 3] uint8; near is bright and far dark."""
    return color_map(1 - (depth - near) / (far - near), "magma")


def color_map(values: np.ndarray, name: str) -> np.ndarray:
    """Values [H, W] from 0 to 1 as colours [H, W, 3] uint8 of a matplotlib colour map."""
    import matplotlib  # here, because it takes a while

    return to_8bit(matplotlib.colormaps[name](np.clip(values, 0, 1))[..., :3])


def contact_sheet(tiles: list[list[np.ndarray]]) -> np.ndarray:
    """Rows of equally large images [H, W, 3] as one image."""
    return np.concatenate([np.concatenate(row, axis=1) for row in tiles], axis=0)
