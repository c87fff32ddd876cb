"""What was found as a capture: transforms.json, points.ply and a report."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np

from tfnerf.files import to_json, write_file
from tfnerf.geometry.axes import scene_axes
from tfnerf.geometry.lenses import are_square
from tfnerf.geometry.poses import meeting_point, scale_of, transformed
from tfnerf.poses.doubts import doubtful_images
from tfnerf.poses.photographs import Gathered
from tfnerf.poses.reconstruction import Found
from tfnerf.poses.workplace import Workplace
from tfnerf.scenes.captures import look_inwards, look_the_same_way, usual_depth
from tfnerf.scenes.colmap_model import Model, read_model

_DISTANCE = 4.0
"""From the cameras to what they look at, in the units that are written."""

_SMALL = 500
"""Pixels of the longer side that train in minutes."""


@dataclasses.dataclass(frozen=True)
class Report:
    """What there is to know of a capture beside the capture."""

    num_images: int
    num_registered: int
    mean_reprojection_error: float
    """Pixels."""
    num_points: int
    lens: dict[str, Any]
    left_out: dict[str, str]
    """Why a file is no view of it, by name."""
    doubtful: list[str]
    """Images whose poses contradict what they share with others."""
    forward_facing: bool
    """The cameras look the same way."""
    factor: int
    """By which images become small enough for two CPU cores."""

    def lines(self) -> list[str]:
        """For people."""
        lens = ", ".join(
            f"{key} {value:.6g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in self.lens.items()
        )
        return [
            f"{self.num_registered} of {self.num_images} images registered, {self.num_points} "
            f"points, mean reprojection error {self.mean_reprojection_error:.2f} pixels",
            f"lens: {lens}",
            *(f"left out: {name}: {reason}" for name, reason in self.left_out.items()),
        ]

    @property
    def doubts(self) -> list[str]:
        """What people should know before they train on it."""
        doubts = []
        if self.num_registered < self.num_images / 2:
            doubts.append(
                f"only {self.num_registered} of {self.num_images} images registered, and the scene "
                "will be what these show; more photographs in between help, and things with texture"
            )
        if self.doubtful:
            doubts.append(
                f"{len(self.doubtful)} images fit others that their poses contradict, as where a "
                "thing looks alike from several sides; take more photographs in between, or put "
                f"something with texture beside it: {', '.join(self.doubtful)}"
            )
        if not are_square(self.lens["fl_x"], self.lens["fl_y"]):
            doubts.append(
                f"focal lengths of {self.lens['fl_x']:.6g} across and {self.lens['fl_y']:.6g} "
                "down mean pixels that are not square, and tilted cameras; --lens=RADIAL or "
                "RADIAL_FISHEYE has one"
            )
        return doubts


def write_capture(workplace: Workplace, gathered: Gathered, found: list[Found]) -> Report:
    """Writes the reconstruction of most images, the poses last.

    Args:
      workplace: where to.
      gathered: the images.
      found: reconstructions, the largest first.
    """
    best = found[0]
    model = read_model(best.folder)
    to_capture = _to_capture(model, gathered.lying)
    content, frames = _content(model, to_capture, workplace, gathered.has_masks)
    report = Report(
        num_images=len(gathered.names) + len(gathered.left_out),
        num_registered=len(frames),
        mean_reprojection_error=best.error,
        num_points=len(model.points),
        lens={key: value for key, value in content.items() if key != "ply_file_path"},
        left_out={**gathered.left_out, **_unregistered(gathered, found)},
        doubtful=doubtful_images(workplace.database, best.folder),
        forward_facing=look_the_same_way(_poses(model)),
        factor=max(1, round(max(content["w"], content["h"]) / _SMALL)),
    )
    write_file(workplace.report, to_json(dataclasses.asdict(report), indent=2))
    write_file(workplace.points, _ply(_moved(model.points, to_capture)))
    write_file(workplace.transforms, json.dumps({**content, "frames": frames}, indent=1))
    return report


def _unregistered(gathered: Gathered, found: list[Found]) -> dict[str, str]:
    left_out = {}
    for name in gathered.names:
        if name in found[0].names:
            continue
        left_out[name] = "fits no other image: little overlap, little texture or blur"
        for other in found[1:]:
            if name in other.names:
                left_out[name] = f"fits {len(other.names) - 1} others that fit none of the rest"
                break
    return left_out


def _poses(model: Model) -> np.ndarray:
    return np.array([frame["transform_matrix"] for frame in model.content["frames"]])[:, :3]


def _as_held(model: Model, lying: frozenset[str]) -> np.ndarray:
    """Poses [V, 3, 4] of the cameras as they were held, where images lie on their side."""
    poses = _poses(model)
    for pose, frame in zip(poses, model.content["frames"]):
        if frame["file_path"] in lying:
            pose[:, :2] = np.stack([pose[:, 1], -pose[:, 0]], -1)
    return poses


def _to_capture(model: Model, lying: frozenset[str]) -> np.ndarray:
    """From units and axes of a model to those of the capture, [4, 4].

    The origin is what the cameras look at, which is 4 from them, or where they look from.
    """
    poses = _poses(model)
    if look_inwards(poses):
        point, _ = meeting_point(poses)
        distance = float(np.linalg.norm(poses[:, :, 3] - point, axis=-1).mean())
    else:
        bounds = [(f["near"], f["far"]) for f in model.content["frames"] if "near" in f]
        point = poses[:, :, 3].mean(0)
        distance = usual_depth(np.array(bounds)) if bounds else 1.0
    moved = np.eye(4)
    moved[:3, 3] = -point
    scale = np.diag([_DISTANCE / distance] * 3 + [1])
    return scale @ scene_axes(_as_held(model, lying), model.points) @ moved


def _moved(points: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    moved: np.ndarray = points @ similarity[:3, :3].T + similarity[:3, 3]
    return moved


def _content(
    model: Model, to_capture: np.ndarray, workplace: Workplace, has_masks: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The file but for its frames, and these."""
    frames = model.content["frames"]
    poses = transformed(to_capture, _poses(model))
    scale = scale_of(to_capture)
    per_frame = ("file_path", "transform_matrix", "near", "far")
    content = {key: value for key, value in frames[0].items() if key not in per_frame}
    content["ply_file_path"] = workplace.points.name
    written = []
    for frame, pose in zip(frames, poses):
        name = frame["file_path"]
        one: dict[str, Any] = {"file_path": f"{workplace.images.name}/{name}"}
        if has_masks:  # the folder may hold those of a call that was refused
            one["mask_path"] = f"{workplace.masks.name}/{name}.png"
        one |= {key: scale * frame[key] for key in ("near", "far") if key in frame}
        one["transform_matrix"] = [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]]
        written.append(one)
    return content, written


def _ply(points: np.ndarray) -> bytes:
    import trimesh

    content: bytes = trimesh.PointCloud(points).export(file_type="ply")
    return content
