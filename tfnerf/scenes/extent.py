"""The box of space, and the depths, that a scene may fill, as far as its cameras tell."""

from __future__ import annotations

import numpy as np

from tfnerf.geometry.lenses import plane_of
from tfnerf.scenes.scene import Scene

_NEAR_FRACTION, _FAR_FRACTION = 0.2, 3.0
"""Near and far as multiples of the smallest and the largest distance of a camera."""
_RESOLUTION = 48
"""Cells along each side when it is looked for what cameras see."""
_PLACES_ACROSS = 17
"""Of an image of a lens that is not perspective, that are looked through."""
_MIN_SHARE = 0.1
"""Of the cameras, that see what belongs to the scene."""


def depth_range(distances: np.ndarray, scale: float = 1.0) -> tuple[float, float]:
    """Near and far of cameras that look at a point.

    Args:
      distances: [V], of the cameras from it.
      scale: units of near and far per unit of the distances.
    """
    near = _NEAR_FRACTION * scale * distances.min()
    far = _FAR_FRACTION * scale * distances.max()
    return float(near), float(far)


def visible_box(scene: Scene) -> np.ndarray:
    """The box around all that training cameras see between near and far.

    Args:
      scene: with training views.

    Returns:
      [2, 3] float64, the lowest and the highest corner in the coordinates of the networks.
    """
    ends = _ray_ends(scene)
    return np.stack([ends.min(0), ends.max(0)])


def scene_box(scene: Scene) -> np.ndarray:
    """The same as far as several cameras see it.

    What only few cameras see cannot be learned, and would make the box large.

    Args:
      scene: with training views.

    Returns:
      [2, 3] float64, the lowest and the highest corner in the coordinates of the networks.
    """
    cameras = scene.train.cameras
    low, high = visible = visible_box(scene)
    if scene.ndc is not None:
        return visible
    size = (high - low) / _RESOLUTION
    cells = np.indices([_RESOLUTION] * 3).reshape([3, -1]).T
    centers = low + size * (cells + 0.5)
    num_seen = np.zeros(len(centers), int)
    for view in range(len(cameras)):
        num_seen += _in_sight(scene, view, centers)
    seen = cells[num_seen >= min(len(cameras), max(2, _MIN_SHARE * len(cameras)))]
    if not len(seen):
        return visible
    return np.stack([low + size * seen.min(0), low + size * (seen.max(0) + 1)])


def _ray_ends(scene: Scene) -> np.ndarray:
    """Where rays through the corners of all training views begin and end, [P, 3] float64.

    What a fisheye or a panorama sees farthest aside is not in its corners.
    """
    cameras = scene.train.cameras
    side = 2 if cameras.lens == "perspective" else _PLACES_ACROSS
    rows, columns = (grid.ravel() / (side - 1) for grid in np.mgrid[0:side, 0:side])
    rows, columns = rows * (cameras.height - 1), columns * (cameras.width - 1)
    view = np.repeat(np.arange(len(cameras)), side * side)
    rays = cameras.rays(
        view,
        np.tile(rows, len(cameras)),
        np.tile(columns, len(cameras)),
        pixel_centers=scene.pixel_centers,
    )
    if scene.ndc is not None:
        rays = scene.ndc.warp(rays)
    origins, directions = (np.asarray(part, np.float64) for part in rays[:2])
    return np.concatenate([origins + depth * directions for depth in (scene.near, scene.far)])


def _in_sight(scene: Scene, view: int, points: np.ndarray) -> np.ndarray:
    """Which points [M, 3] a training camera sees between near and far, [M] bool.

    The distortion of lenses is left out.
    """
    cameras = scene.train.cameras
    pose = cameras.camera_to_world[view].astype(np.float64)
    seen = (points - pose[:, 3]) @ pose[:, :3]
    depth = -seen[:, 2] if cameras.lens == "perspective" else np.linalg.norm(seen, axis=-1)
    in_depth = (depth >= scene.near) & (depth <= scene.far)
    places = cameras.center[view] + cameras.focal[view] * plane_of(seen, cameras.lens)
    column, row = places.T
    in_image = (column >= 0) & (column <= cameras.width) & (row >= 0) & (row <= cameras.height)
    return in_depth & in_image
