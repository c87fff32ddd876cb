"""One picture of a scene: cameras and what they see from above and from the side, and images."""

from __future__ import annotations

import io
import itertools
from typing import TYPE_CHECKING

import numpy as np

from tfnerf.geometry.poses import look_along, relative_to
from tfnerf.inspect.findings import Inspection
from tfnerf.scenes import Scene, Views, spread, true_colors
from tfnerf.scenes.extent import scene_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = {"train": "#1f77b4", "held out": "#ff7f0e"}
_MAX_RAYS = 8
_MAX_IMAGES = 6


def draw(inspection: Inspection) -> bytes:
    """A PNG: cameras, some rays from near to far, common points; the least sharp images last."""
    from matplotlib.figure import Figure

    scene = inspection.scene
    figure = Figure(figsize=(14, 10), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=[2.2, 1])
    frame = _upright_frame(scene.train)
    axes = above.subplots(1, 2)
    for axis, vertical, title in ((axes[0], 1, "from above"), (axes[1], 2, "from the side")):
        _draw_plan(axis, inspection, frame, vertical)
        axis.set_title(f"{scene.name} {title} (scene units)")
    axes[0].legend(loc="upper right")
    _draw_images(below.subplots(1, _MAX_IMAGES), inspection)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=80)
    return buffer.getvalue()


def _upright_frame(views: Views) -> np.ndarray:
    """A frame [3, 4] at the mean camera, z along what the cameras hold for up."""
    poses = views.cameras.camera_to_world.astype(np.float64)
    up = poses[:, :, 1].mean(0)
    back = poses[:, :, 2].mean(0)
    if np.linalg.norm(np.cross(up, back)) < 1e-3 * np.linalg.norm(up):
        back = np.roll(up, 1)
    return look_along(up, -back, np.zeros(3))


def _draw_plan(axis: Axes, inspection: Inspection, frame: np.ndarray, vertical: int) -> None:
    """Everything projected on the frame's x axis and one other."""
    scene = inspection.scene
    plane = [0, vertical]

    def seen(points: np.ndarray) -> np.ndarray:
        return (points @ frame[:, :3])[..., plane]

    axis.plot(*seen(inspection.points).T, ",", color="0.6", zorder=0)
    for name, views in (("train", scene.train), ("held out", scene.held_out)):
        if views is None:
            continue
        poses = relative_to(frame, views.cameras.camera_to_world.astype(np.float64))
        positions, ahead = poses[:, plane, 3], -poses[:, plane, 2]
        axis.plot(*positions.T, ".", color=_COLORS[name], label=f"{len(views)} {name}")
        axis.quiver(*positions.T, *ahead.T, color=_COLORS[name], width=0.003, scale=20)
    near, far = _world_range(scene)
    for view in spread(len(scene.train), _MAX_RAYS):
        pose = scene.train.cameras.camera_to_world[view].astype(np.float64)
        ends = seen(pose[:, 3] - np.array([[near], [far]]) * pose[:, 2])
        label = f"rays, near {near:.2f} to far {far:.2f}" if view == 0 else None
        axis.plot(*ends.T, "-", color="#2ca02c", linewidth=0.7, alpha=0.7, label=label)
    if scene.ndc is None:
        for edge in _edges(scene_box(scene)):
            axis.plot(*seen(edge).T, ":", color="0.3", linewidth=0.8)
        axis.plot([], [], ":", color="0.3", label="box that --field=planes begins with")
    axis.set_aspect("equal", adjustable="datalim")
    axis.grid(alpha=0.3)


def _edges(box: np.ndarray) -> list[np.ndarray]:
    """The twelve edges of a box [2, 3], each the two corners [2, 3] that it joins."""
    corners = [np.array(choice) for choice in itertools.product((0, 1), repeat=3)]
    pairs = itertools.combinations(corners, 2)
    joined = [np.stack(pair) for pair in pairs if np.abs(pair[0] - pair[1]).sum() == 1]
    return [np.take_along_axis(box, ends, axis=0) for ends in joined]


def _world_range(scene: Scene) -> tuple[float, float]:
    """Near and far in scene units; rays in NDC end at infinity, here at the farthest depth."""
    if scene.ndc is None:
        return scene.near, scene.far
    return scene.ndc.near, scene.depth_bounds[1]


def _draw_images(axes: np.ndarray, inspection: Inspection) -> None:
    scene, views = inspection.scene, inspection.scene.train
    by_sharpness = np.argsort(-inspection.sharpness)
    shown = [by_sharpness[index] for index in spread(len(views), _MAX_IMAGES)]
    for axis in axes:
        axis.axis("off")
    for axis, view in zip(axes, shown):
        axis.imshow(true_colors(scene, views, int(view)))
        axis.set_title(f"{views.names[view]}\nsharpness {inspection.sharpness[view]:.2f}", size=9)
