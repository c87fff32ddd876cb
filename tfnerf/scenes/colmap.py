"""COLMAP projects as they lie: a model in sparse/0 or thereabouts, images beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import require_folder
from tfnerf.geometry.axes import scene_axes
from tfnerf.geometry.poses import to_4x4, transformed
from tfnerf.scenes.captures import Frames, load_capture
from tfnerf.scenes.colmap_model import find_model, read_model
from tfnerf.scenes.files import find_images, read_images
from tfnerf.scenes.scene import Scene
from tfnerf.scenes.transforms import frames_with_images
from tfnerf.settings import SceneSettings


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Reads the project; every Nth view is held out, images of `images_<factor>` are taken."""
    folder = require_folder(Path(settings.data_dir))
    model_folder = find_model(folder)
    if model_folder is None:
        raise UserError(f"{folder}: found no cameras.bin or cameras.txt, here or in sparse/0")
    model = read_model(model_folder)
    path = next(path for path in model_folder.glob("images.*") if path.suffix in (".bin", ".txt"))
    names = [frame["file_path"] for frame in model.content["frames"]]
    image_folder, factor = _image_folder(folder, settings.factor, names)
    frames, image_paths = frames_with_images(model.content["frames"], image_folder, path)
    poses = np.array([frame["transform_matrix"] for frame in frames])[:, :3]
    to_axes = scene_axes(poses, model.points)
    turned = [
        {**frame, "transform_matrix": pose.tolist()}
        for frame, pose in zip(frames, to_4x4(transformed(to_axes, poses)))
    ]
    scene = load_capture(
        Frames(path, {}, turned, image_paths),
        settings,
        splits,
        images=read_images(image_paths, factor),
    )
    return _of_project(scene, folder, to_axes)


def _of_project(scene: Scene, folder: Path, to_axes: np.ndarray) -> Scene:
    """A scene whose world is that of the project, before it was turned to its axes."""
    return dataclasses.replace(
        scene, name=folder.name, scene_to_world=np.linalg.inv(to_axes) @ scene.scene_to_world
    )


def _image_folder(folder: Path, factor: int, names: Sequence[str]) -> tuple[Path, int]:
    """Where images of these names are, and by how much they have to be shrunk still."""
    shrunken = folder / f"images_{factor}"
    # LLFF's have names of their own, or another suffix.
    if factor > 1 and shrunken.is_dir() and any(find_images(shrunken, names)):
        return shrunken, 1
    return (folder / "images" if (folder / "images").is_dir() else folder), factor
