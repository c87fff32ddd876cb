"""Captures with a transforms.json, as tfnerf.poses, nerfstudio and instant-ngp write it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfnerf.errors import UserError
from tfnerf.files import read_json, require_folder
from tfnerf.scenes.captures import Frames, load_capture
from tfnerf.scenes.files import find_images, read_frames
from tfnerf.scenes.scene import Scene
from tfnerf.settings import SceneSettings

_log = logging.getLogger(__name__)


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Reads the capture; frames without an image are skipped.

    Views are held out as the file says, or every Nth.
    """
    folder = require_folder(Path(settings.data_dir))
    path = folder / "transforms.json"
    content = read_json(path)
    frames, image_paths = frames_with_images(read_frames(content, path), folder, path)
    return load_capture(Frames(path, content, frames, image_paths), settings, splits)


def frames_with_images(
    frames: list[dict[str, Any]], folder: Path, path: Path
) -> tuple[list[dict[str, Any]], list[Path]]:
    """The frames whose image is there, in the order of their names, and the images.

    Args:
      frames: all.
      folder: that the names of images begin at.
      path: of the file that the frames stand in.

    Raises:
      UserError: there is no image of any frame.
    """
    frames = sorted(frames, key=lambda frame: frame["file_path"])
    found = list(zip(frames, find_images(folder, [frame["file_path"] for frame in frames])))
    present = [(frame, image) for frame, image in found if image is not None]
    if len(present) < len(found):
        missing = next(frame["file_path"] for frame, image in found if image is None)
        _log.warning(
            "%s: %d of %d frames skipped, their images are missing (%s, ...)",
            path,
            len(found) - len(present),
            len(found),
            missing,
        )
    if not present:
        raise UserError(f"{path}: found no frame whose image is there")
    return [frame for frame, _ in present], [image for _, image in present]
