"""scene.json of a run folder: the scene that the run was trained on, but for its photographs.

With it pictures, meshes and exports need no photographs, and a run that goes on, perhaps with its
data elsewhere, knows whether they are the same.
"""

from __future__ import annotations

import dataclasses
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import read_json, to_json, write_file
from tfnerf.geometry.cameras import NDC, Cameras
from tfnerf.geometry.poses import transformed
from tfnerf.runs.checkpoints import list_checkpoints
from tfnerf.runs.folder import RunFolder
from tfnerf.scenes import Scene, Views
from tfnerf.settings import SceneSettings

_log = logging.getLogger(__name__)
_TOLERANCE = 1e-5
_CAMERAS = ("camera_to_world", "focal", "center", "distortion")
_NUMBERS = ("near", "far", "white_background", "pixel_centers", "ndc", "scene_to_world")
"""Of a scene, that must not change while a run trains on it."""


def write_record(path: Path, scene: Scene) -> None:
    """Writes what there is to know of a scene; UserError if that fails."""
    content = {
        "name": scene.name,
        "near": scene.near,
        "far": scene.far,
        "bounds": scene.bounds,
        "white_background": scene.white_background,
        "pixel_centers": scene.pixel_centers,
        "ndc": None if scene.ndc is None else dataclasses.asdict(scene.ndc),
        "scene_to_world": scene.scene_to_world.tolist(),
        "splits": {name: _views_to_json(views) for name, views in scene.splits.items()},
    }
    write_file(path, to_json(content))


def read_record(path: Path) -> Scene:
    """The scene of a record, its views without photographs: their images have no pixels.

    Raises:
      UserError: it is missing or damaged.
    """
    return _scene_of_json(read_json(path), path)


def _scene_of_json(content: dict[str, Any], path: Path) -> Scene:
    try:
        ndc = content["ndc"]
        bounds = content["bounds"]
        return Scene(
            name=content["name"],
            splits={name: _views_of_json(views) for name, views in content["splits"].items()},
            near=content["near"],
            far=content["far"],
            white_background=content["white_background"],
            pixel_centers=content["pixel_centers"],
            ndc=None if ndc is None else NDC(**ndc),
            bounds=None if bounds is None else (bounds[0], bounds[1]),
            scene_to_world=np.array(content["scene_to_world"], np.float64),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: no record of a scene: {error}") from None


def with_axes_of_run(scene: Scene, folder: RunFolder) -> Scene:
    """A scene turned to the axes that a run has trained on.

    A version may turn a capture otherwise than the one that the run began with.

    Args:
      scene: as it was read now.
      folder: of the run; where it has no record or has trained nothing yet nothing is turned.
    """
    if not folder.scene.is_file() or not list_checkpoints(folder.checkpoints):
        return scene
    to_world = read_record(folder.scene).scene_to_world
    turn = np.linalg.inv(to_world) @ scene.scene_to_world
    if np.array_equal(to_world, scene.scene_to_world) or not _is_rotation(turn):
        return scene
    splits = {name: _turned(views, turn) for name, views in scene.splits.items()}
    return dataclasses.replace(scene, splits=splits, scene_to_world=to_world)


def _turned(views: Views, turn: np.ndarray) -> Views:
    poses = transformed(turn, views.cameras.camera_to_world.astype(np.float64))
    cameras = dataclasses.replace(views.cameras, camera_to_world=poses.astype(np.float32))
    return dataclasses.replace(views, cameras=cameras)


def _is_rotation(matrix: np.ndarray) -> bool:
    """Whether [4, 4] leaves the origin where it is, and lengths."""
    rotation = np.eye(4)
    rotation[:3, :3] = matrix[:3, :3]
    squared = rotation @ rotation.T
    return (
        np.allclose(matrix, rotation, atol=_TOLERANCE)
        and np.allclose(squared, np.eye(4), atol=_TOLERANCE)
        and np.linalg.det(rotation) > 0
    )


def check_same(scene: Scene, path: Path, data_dir: str) -> None:
    """Raises UserError if a scene is not the one of a record, and names what differs.

    Args:
      scene: as it was read now; splits that it lacks are not compared.
      path: of the record.
      data_dir: where it was read from.
    """
    content = read_json(path)
    before = _scene_of_json(content, path)
    where = f"--data_dir={data_dir}: not what {path.parent} was trained on: "
    for name in scene.splits.keys() & before.splits.keys():
        checksums = content["splits"][name]["checksums"]
        _check_same_views(scene.splits[name], before.splits[name], checksums, f"{where}{name} view")
    for name in _NUMBERS:
        now, then = getattr(scene, name), getattr(before, name)
        if not _are_close(now, then):
            one_line = [str(v.tolist() if isinstance(v, np.ndarray) else v) for v in (now, then)]
            raise UserError(f"{where}{name} is {one_line[0]}, was {one_line[1]}")


def warn_of_new_rules(settings: SceneSettings, folder: RunFolder) -> None:
    """Says that a capture may be read otherwise than the version did that trained on it.

    Args:
      settings: of the scene.
      folder: of a run of a version that kept no record.
    """
    if settings.dataset == "transforms":
        _log.warning(
            "%s: has no %s, so nothing tells whether the capture is read as it was then: masks, "
            "train_filenames and its like, and near and far of frames had no effect in 0.2.0",
            folder.path,
            folder.scene.name,
        )


def _are_close(now: Any, then: Any) -> bool:
    if now is None or then is None:
        return now is then
    one, other = (dataclasses.astuple(v) if isinstance(v, NDC) else v for v in (now, then))
    return np.allclose(one, other, rtol=_TOLERANCE)


def _check_same_views(now: Views, then: Views, checksums: Sequence[int], where: str) -> None:
    for name in then.names:
        if name not in now.names:
            raise UserError(f"{where} {name} is gone")
    for name in now.names:
        if name not in then.names:
            raise UserError(f"{where} {name} was not there")
    if now.names != then.names:
        raise UserError(f"{where}s are in another order")
    sizes = [(views.cameras.width, views.cameras.height) for views in (now, then)]
    if sizes[0] != sizes[1]:
        raise UserError(
            f"{where}s have {sizes[0][0]} x {sizes[0][1]} pixels, had {sizes[1][0]} x {sizes[1][1]}"
        )
    if now.cameras.lens != then.cameras.lens:
        raise UserError(f"{where}s are {now.cameras.lens}, were {then.cameras.lens}")
    for key in _CAMERAS:
        values, expected = getattr(now.cameras, key), getattr(then.cameras, key)
        if values.shape != expected.shape:
            raise UserError(f"{where}s have another {key}")
        differs = ~np.isclose(values, expected, rtol=_TOLERANCE, atol=_TOLERANCE)
        if differs.any():
            view = int(np.argwhere(differs)[0, 0])
            raise UserError(f"{where} {now.names[view]} has another {key}")
    _check_same_conditions(now, then, where)
    for name, checksum, expected_sum in zip(now.names, _checksums(now), checksums):
        if checksum != expected_sum:
            raise UserError(f"{where} {name} has other pixels")


def _check_same_conditions(now: Views, then: Views, where: str) -> None:
    ours, theirs = now.cameras.conditions or {}, then.cameras.conditions or {}
    for name in ours.keys() | theirs.keys():
        if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape:
            raise UserError(f"{where}s have another {name}")
        differs = ~np.isclose(ours[name], theirs[name], rtol=_TOLERANCE, atol=_TOLERANCE)
        if differs.any():
            raise UserError(f"{where} {now.names[np.argwhere(differs)[0, 0]]} has another {name}")


def _views_to_json(views: Views) -> dict[str, Any]:
    cameras = views.cameras
    return {
        "names": list(views.names),
        "indices": np.asarray(views.indices).tolist(),
        "white_level": views.white_level,
        "height": cameras.height,
        "width": cameras.width,
        "lens": cameras.lens,
        **{key: getattr(cameras, key).tolist() for key in _CAMERAS},
        "conditions": {
            name: values.tolist() for name, values in (cameras.conditions or {}).items()
        },
        "checksums": _checksums(views),
    }


def _views_of_json(content: dict[str, Any]) -> Views:
    conditions = {
        name: np.array(values, np.float32) for name, values in content["conditions"].items()
    }
    num_views = len(content["names"])
    shapes = {"camera_to_world": (3, 4), "focal": (2,), "center": (2,)}
    arrays = {
        key: np.array(content[key], np.float32).reshape([num_views, *shapes.get(key, (-1,))])
        if num_views
        else np.zeros([0, *shapes.get(key, (4,))], np.float32)
        for key in _CAMERAS
    }
    cameras = Cameras(
        **arrays,
        height=content["height"],
        width=content["width"],
        conditions=conditions or None,
        lens=content["lens"],
    )
    return Views(
        images=np.zeros([num_views, 0, 0, 3], np.uint8),
        white_level=content["white_level"],
        cameras=cameras,
        names=tuple(content["names"]),
        indices=np.array(content["indices"], int),
    )


def _checksums(views: Views) -> list[int]:
    """Of the pixels of each view, and of its mask."""
    sums = [zlib.crc32(image.tobytes()) for image in views.images]
    if views.masks is not None:
        sums = [zlib.crc32(mask.tobytes(), before) for mask, before in zip(views.masks, sums)]
    return sums
