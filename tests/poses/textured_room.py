"""A corner of a room papered with noise, which features are found on, seen by known cameras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import look_along

HEIGHT, WIDTH, FOCAL = 240, 320, 300.0
RADIUS = 4.0
"""Mean distance of the cameras from the middle."""
_PIXELS_PER_UNIT = 60


def arc(num_views: int, heights: Sequence[float] = (1.6, 2.1, 2.6)) -> np.ndarray:
    """Poses [V, 3, 4] on an arc around the middle, z up."""
    poses = []
    for index, turn in enumerate(np.linspace(0.25, 1.3, num_views)):
        height = heights[index % len(heights)]
        position = RADIUS * np.array([np.cos(turn), np.sin(turn), 0]) + [0, 0, height]
        poses.append(look_along(position - [0.2, 0.2, 0.5], np.array([0.0, 0, 1]), position))
    return np.stack(poses)


def photograph(pose: np.ndarray) -> np.ndarray:
    """What a camera sees, [H, W, 3] uint8: the floor z = 0 and the walls x = -1 and y = -1."""
    cameras = Cameras.pinhole(pose[np.newaxis], HEIGHT, WIDTH, FOCAL)
    rays = cameras.image_rays(0, pixel_centers=True)
    origins, directions = (np.asarray(part, np.float64) for part in rays[:2])
    offsets = np.array([-1.0, -1.0, 0.0])
    with np.errstate(divide="ignore"):
        depths = (offsets - origins) / directions  # of the three planes
    depths[depths <= 0] = np.inf
    plane = depths.argmin(1)
    points = origins + depths.min(1)[:, np.newaxis] * directions
    colors = np.zeros([len(points), 3])
    for axis in range(3):
        on_it = plane == axis
        flat = np.delete(points[on_it], axis, 1) * _PIXELS_PER_UNIT
        paper = _paper(axis)
        for channel in range(3):
            colors[on_it, channel] = ndimage.map_coordinates(
                paper[..., channel], flat.T, order=1, mode="grid-wrap"
            )
    return np.clip(colors, 0, 255).astype(np.uint8).reshape(HEIGHT, WIDTH, 3)


def _paper(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    noise = np.zeros([512, 512, 3])
    for size, weight in ((1.5, 1.0), (4, 2.0), (12, 4.0)):
        blurred = ndimage.gaussian_filter(
            rng.normal(size=[512, 512, 3]), (size, size, 0), mode="wrap"
        )
        noise += weight * blurred / blurred.std()
    return 128 + 45 * noise / noise.std()
