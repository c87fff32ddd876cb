"""A scene that needs no files: solids with highlights, ray-traced in NumPy.

A field of signed distances (negative inside) describes the solids; rays march along it (sphere
tracing, Hart 1996) and what they hit is lit by the Blinn-Phong model, whose highlights move with
the camera, as only a network that knows the view direction can learn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import look_along
from tfnerf.scenes.scene import Scene, Views
from tfnerf.settings import SceneSettings

_SIZE = 64
_FOCAL = 1.2 * _SIZE
_DISTANCE = 4.0
_NEAR, _FAR = 2.0, 6.0
_NUM_VIEWS = {"train": 60, "val": 6, "test": 6}
_FIRST_VIEW = {"train": 0, "val": 60, "test": 66}
_SAMPLES_PER_SIDE = 2
_MARCH_STEPS = 64
_HIT_DISTANCE = 1e-3
_LIGHT = np.array([0.48, 0.36, 0.8])
_AMBIENT, _DIFFUSE, _SPECULAR, _SHININESS = 0.35, 0.65, 0.6, 24.0


class Solid(NamedTuple):
    """A thing in the scene."""

    distance: Callable[[np.ndarray], np.ndarray]
    """Points [N, 3] to signed distances [N], scene units."""
    color: tuple[float, float, float]


def _sphere(center: Sequence[float], radius: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda p: np.linalg.norm(p - center, axis=-1) - radius


def _box(center: Sequence[float], half_size: Sequence[float], rounding: float) -> Callable:
    def distance(p: np.ndarray) -> np.ndarray:
        q = np.abs(p - center) - half_size
        outside = np.linalg.norm(np.maximum(q, 0), axis=-1)
        return outside + np.minimum(q.max(-1), 0) - rounding

    return distance


def _torus(center: Sequence[float], radius: float, thickness: float) -> Callable:
    """A ring that lies flat."""

    def distance(p: np.ndarray) -> np.ndarray:
        q = p - center
        ring = np.linalg.norm(q[:, :2], axis=-1) - radius
        return np.hypot(ring, q[:, 2]) - thickness

    return distance


def _cone(base: Sequence[float], radius: float, height: float) -> Callable:
    """An upright cone; the distance is never too large, which is all that marching needs."""
    slope = np.array([height, radius]) / np.hypot(height, radius)

    def distance(p: np.ndarray) -> np.ndarray:
        q = p - base
        across = np.hypot(q[:, 0], q[:, 1])
        side = (across - radius) * slope[0] + q[:, 2] * slope[1]
        return np.maximum(side, -q[:, 2])

    return distance


SOLIDS = (
    Solid(_box([0, 0, -0.5], [1.05, 1.05, 0.06], 0.04), (0.75, 0.72, 0.66)),
    Solid(_sphere([-0.45, 0.45, 0.0], 0.42), (0.85, 0.15, 0.12)),
    Solid(_box([0.5, 0.5, -0.05], [0.27, 0.27, 0.3], 0.06), (0.12, 0.4, 0.85)),
    Solid(_torus([0.42, -0.45, -0.23], 0.36, 0.16), (0.95, 0.7, 0.1)),
    Solid(_cone([-0.5, -0.5, -0.41], 0.38, 0.95), (0.15, 0.65, 0.3)),
)
"""The ground plate, a sphere, a box, a ring and a cone, within 1.2 of the origin."""


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Renders the given splits."""
    return Scene(
        name="builtin",
        splits={split: _render_split(split, settings) for split in splits},
        near=_NEAR,
        far=_FAR,
        white_background=settings.white_background,
        pixel_centers=settings.pixel_centers,
    )


def signed_distance(points: np.ndarray) -> np.ndarray:
    """Distance of points [N, 3] to the nearest surface, negative inside, scene units: [N]."""
    return np.min([solid.distance(points) for solid in SOLIDS], axis=0)


def _render_split(split: str, settings: SceneSettings) -> Views:
    first, count = _FIRST_VIEW[split], _NUM_VIEWS[split]
    poses = np.stack([_pose(first + index) for index in range(count)])
    cameras = Cameras.pinhole(poses, _SIZE, _SIZE, _FOCAL)
    images = np.stack([_render(pose, settings.pixel_centers) for pose in poses])
    return Views(images, 255, cameras, tuple(f"{split}_{index:03d}" for index in range(count)))


def _pose(index: int) -> np.ndarray:
    """Cameras on the upper half of a sphere, evenly spread (Roberts 2018)."""
    height = 0.1 + 0.8 * ((0.5 + index * 0.7548777) % 1)
    azimuth = 2 * np.pi * (0.5 + index * 0.5698403)
    across = np.sqrt(1 - height**2)
    position = _DISTANCE * np.array([across * np.cos(azimuth), across * np.sin(azimuth), height])
    return look_along(position, np.array([0.0, 0.0, 1.0]), position)


def _render(pose: np.ndarray, pixel_centers: bool) -> np.ndarray:
    """An image [H, W, 4] uint8, each pixel the average of several rays."""
    side = _SIZE * _SAMPLES_PER_SIDE
    # A pixel's colour belongs to where its ray passes: the middle of its samples.
    shift = 0.5 if pixel_centers else 0.0
    steps = (np.arange(side) + 0.5) / _SAMPLES_PER_SIDE - 0.5 + shift
    column, row = np.meshgrid(steps, steps)
    plane = np.stack(
        [(column - _SIZE / 2) / _FOCAL, -(row - _SIZE / 2) / _FOCAL, -np.ones_like(row)], -1
    )
    directions = plane.reshape(-1, 3) @ pose[:, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    rgba = _trace(np.broadcast_to(pose[:, 3], directions.shape), directions)
    blocks = rgba.reshape(_SIZE, _SAMPLES_PER_SIDE, _SIZE, _SAMPLES_PER_SIDE, 4)
    premultiplied = blocks.mean((1, 3))
    alpha = premultiplied[..., 3:]
    rgb = premultiplied[..., :3] / np.maximum(alpha, 1e-6)
    return np.rint(255 * np.concatenate([rgb, alpha], -1)).astype(np.uint8)


def _trace(origins: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Rays [N, 3] with unit directions to premultiplied colours with alpha [N, 4]."""
    depths = np.full(len(origins), _NEAR)
    distances = np.full(len(origins), np.inf)
    moving = np.arange(len(origins))
    for _ in range(_MARCH_STEPS):
        points = origins[moving] + depths[moving, np.newaxis] * directions[moving]
        distances[moving] = signed_distance(points)
        depths[moving] += distances[moving]
        moving = moving[(distances[moving] > _HIT_DISTANCE) & (depths[moving] < _FAR)]
    hit = np.flatnonzero(distances <= _HIT_DISTANCE)
    points = origins[hit] + depths[hit, np.newaxis] * directions[hit]
    solid = np.argmin([solid.distance(points) for solid in SOLIDS], axis=0)
    colors = np.array([solid.color for solid in SOLIDS])[solid]
    rgba = np.zeros([len(origins), 4])
    rgba[hit, :3] = _shade(points, directions[hit], colors)
    rgba[hit, 3] = 1
    return rgba


def _shade(points: np.ndarray, directions: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Blinn-Phong shading with one distant light: [N, 3] colours from 0 to 1."""
    normals = np.stack(
        [
            signed_distance(points + step) - signed_distance(points - step)
            for step in _HIT_DISTANCE * np.eye(3)
        ],
        -1,
    )
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    light = _LIGHT / np.linalg.norm(_LIGHT)
    halfway = light - directions
    halfway /= np.linalg.norm(halfway, axis=-1, keepdims=True)
    diffuse = np.maximum(normals @ light, 0)
    specular = np.maximum((normals * halfway).sum(-1), 0) ** _SHININESS * (diffuse > 0)
    lit = colors * (_AMBIENT + _DIFFUSE * diffuse)[:, np.newaxis]
    return np.clip(lit + _SPECULAR * specular[:, np.newaxis], 0, 1)
