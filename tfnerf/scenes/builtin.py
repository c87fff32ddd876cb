"""A scene that needs no files: solids with highlights, ray-traced in NumPy.

A field of signed distances (negative inside) describes the solids; rays march along it (sphere
tracing, Hart 1996) and what they hit is lit by the Blinn-Phong model, whose highlights move with
the camera, as only a network that knows the view direction can learn.

If asked for the solids move or have patterns, each view has a light of its own, which casts
shadows, or each view has a tint and an exposure of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import look_along
from tfnerf.scenes.conditions import conditions_of
from tfnerf.scenes.pattern import brightness_at
from tfnerf.scenes.scene import Scene, Views
from tfnerf.scenes.solids import Solid, normals_at, signed_distance, solids_at
from tfnerf.settings import SceneSettings

_FOCAL = 1.2
"""Of the size of an image."""
_DISTANCE = 4.0
_NEAR, _FAR = 2.0, 6.0
_SPLITS = ("train", "val", "test")
_NUM_VIEWS = {"train": 60, "val": 6, "test": 6}
_NUM_VARIED_VIEWS = {"train": 120, "val": 10, "test": 10}
"""Where no two views show the same."""
_SAMPLES_PER_SIDE = 2
_MARCH_STEPS = 64
_HIT_DISTANCE = 1e-3
_SUN = np.array([0.48, 0.36, 0.8])
"""Towards the distant light of the scene that has one light."""
_LIGHT_DISTANCE = 5.0
_AMBIENT, _DIFFUSE, _SPECULAR, _SHININESS = 0.35, 0.65, 0.6, 24.0
_EXPOSURES = (-1.2, 0.0)
"""Least and most, in powers of two; above 0 bright colours would be cut off."""
_SMALLEST_TINT = 0.6


class _Moment(NamedTuple):
    """What a view shows beside what its camera makes of it."""

    time: float = 0.0
    light: np.ndarray | None = None
    """[3], where the light of the view is; None: the sun."""
    tint: np.ndarray | None = None
    """[3], what colours are multiplied with; None: nothing."""


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


def _render_split(split: str, settings: SceneSettings) -> Views:
    views = _views_of(split, settings)
    count = len(views)
    poses = np.stack([_pose(view) for view in views])
    moments = _moments(settings, split, views)
    images = np.stack([_render(pose, moment, settings) for pose, moment in zip(poses, moments)])
    said = {
        "time": [moment.time for moment in moments] if settings.builtin_motion else None,
        "light": [moment.light for moment in moments] if settings.builtin_lights else None,
    }
    size = settings.builtin_size
    conditions = conditions_of(said, settings, "builtin")
    cameras = Cameras.pinhole(poses, size, size, _FOCAL * size, conditions)
    return Views(images, 255, cameras, tuple(f"{split}_{index:03d}" for index in range(count)))


def _views_of(split: str, settings: SceneSettings) -> list[int]:
    """Numbers of the places on the sphere of cameras that a split was taken from.

    Splits follow each other, so that no two share a view; training views beyond the usual number
    follow them all, so that what is held out stays the same.
    """
    varied = settings.builtin_motion or settings.builtin_lights or settings.builtin_tints
    counts = _NUM_VARIED_VIEWS if varied else _NUM_VIEWS
    first = sum(counts[other] for other in _SPLITS[: _SPLITS.index(split)])
    usual = list(range(first, first + counts[split]))
    if split != "train" or settings.builtin_views is None:
        return usual
    num_all = sum(counts.values())
    more = range(num_all, num_all + settings.builtin_views)
    return [*usual, *more][: settings.builtin_views]


def _moments(settings: SceneSettings, split: str, views: list[int]) -> list[_Moment]:
    """Of each view of a split."""
    return [
        _Moment(
            time if settings.builtin_motion else 0.0,
            _light(view) if settings.builtin_lights else None,
            _tint(view) if settings.builtin_tints else None,
        )
        for time, view in zip(_times(split, len(views)).tolist(), views)
    ]


def _times(split: str, count: int) -> np.ndarray:
    """Evenly spread, in an order that has nothing to do with where the cameras are: [V].

    Those of training begin at 0 and end at 1; the others lie between.
    """
    order = np.argsort(np.argsort((np.arange(count) * 0.6180340) % 1))
    if split == "train":
        return np.linspace(0, 1, count)[order]
    return (order + (0.37 if split == "val" else 0.63)) / count


def _light(view: int) -> np.ndarray:
    """On the upper half of a sphere, in another order than the cameras."""
    return _on_sphere(view, 0.35, 0.95, (0.8191725, 0.6710436), _LIGHT_DISTANCE)


def _tint(view: int) -> np.ndarray:
    random = np.random.default_rng(view)
    return 2 ** random.uniform(*_EXPOSURES) * random.uniform(_SMALLEST_TINT, 1, 3)


def _pose(index: int) -> np.ndarray:
    """Cameras on the upper half of a sphere, evenly spread (Roberts 2018)."""
    position = _on_sphere(index, 0.1, 0.9, (0.7548777, 0.5698403), _DISTANCE)
    return look_along(position, np.array([0.0, 0.0, 1.0]), position)


def _on_sphere(
    index: int, lowest: float, highest: float, steps: tuple[float, float], radius: float
) -> np.ndarray:
    height = lowest + (highest - lowest) * ((0.5 + index * steps[0]) % 1)
    azimuth = 2 * np.pi * (0.5 + index * steps[1])
    across = np.sqrt(1 - height**2)
    return radius * np.array([across * np.cos(azimuth), across * np.sin(azimuth), height])


def _render(pose: np.ndarray, moment: _Moment, settings: SceneSettings) -> np.ndarray:
    """An image [H, W, 4] uint8, each pixel the average of several rays."""
    size = settings.builtin_size
    # A pixel's colour belongs to where its ray passes: the middle of its samples.
    shift = 0.5 if settings.pixel_centers else 0.0
    steps = (np.arange(size * _SAMPLES_PER_SIDE) + 0.5) / _SAMPLES_PER_SIDE - 0.5 + shift
    column, row = np.meshgrid(steps, steps)
    focal = _FOCAL * size
    plane = np.stack(
        [(column - size / 2) / focal, -(row - size / 2) / focal, -np.ones_like(row)], -1
    )
    directions = plane.reshape(-1, 3) @ pose[:, :3].T
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    origins = np.broadcast_to(pose[:, 3], directions.shape)
    rgba = _trace(origins, directions, moment, settings.builtin_patterns)
    blocks = rgba.reshape(size, _SAMPLES_PER_SIDE, size, _SAMPLES_PER_SIDE, 4)
    premultiplied = blocks.mean((1, 3))
    alpha = premultiplied[..., 3:]
    rgb = premultiplied[..., :3] / np.maximum(alpha, 1e-6)
    if moment.tint is not None:
        rgb = rgb * moment.tint
    return np.rint(255 * np.concatenate([rgb, alpha], -1)).astype(np.uint8)


def _trace(
    origins: np.ndarray, directions: np.ndarray, moment: _Moment, patterned: bool
) -> np.ndarray:
    """Rays [N, 3] with unit directions to premultiplied colours with alpha [N, 4]."""
    solids = solids_at(moment.time)
    depths, hit = _march(origins, directions, solids, _NEAR, _FAR)
    points = origins[hit] + depths[hit, np.newaxis] * directions[hit]
    rgba = np.zeros([len(origins), 4])
    colors = _colors(points, solids, patterned)
    rgba[hit, :3] = _shade(points, directions[hit], colors, solids, moment.light)
    rgba[hit, 3] = 1
    return rgba


def _march(
    origins: np.ndarray,
    directions: np.ndarray,
    solids: Sequence[Solid],
    near: float,
    far: float | np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Depths [N] up to which rays go freely, and the indices of those that hit something."""
    far = np.broadcast_to(far, len(origins))
    depths = np.full(len(origins), near)
    distances = np.full(len(origins), np.inf)
    moving = np.arange(len(origins))
    for _ in range(_MARCH_STEPS):
        points = origins[moving] + depths[moving, np.newaxis] * directions[moving]
        distances[moving] = signed_distance(points, solids)
        depths[moving] += distances[moving]
        moving = moving[(distances[moving] > _HIT_DISTANCE) & (depths[moving] < far[moving])]
    return depths, np.flatnonzero(distances <= _HIT_DISTANCE)


def _colors(points: np.ndarray, solids: Sequence[Solid], patterned: bool) -> np.ndarray:
    """What the solids are painted with [N, 3] at points [N, 3] on them."""
    nearest = np.argmin([solid.distance(points) for solid in solids], axis=0)
    colors = np.array([solid.color for solid in solids])[nearest]
    if patterned:
        at_rest = np.stack([solid.at_rest(points) for solid in solids])
        colors *= brightness_at(at_rest[nearest, np.arange(len(points))])[:, np.newaxis]
    return colors


def _shade(
    points: np.ndarray,
    directions: np.ndarray,
    colors: np.ndarray,
    solids: Sequence[Solid],
    light: np.ndarray | None,
) -> np.ndarray:
    """Blinn-Phong shading [N, 3], 0 to 1: by the sun, or by a light that casts shadows."""
    normals = normals_at(points, solids)
    to_light = np.broadcast_to(_SUN, points.shape) if light is None else light - points
    to_light = to_light / np.linalg.norm(to_light, axis=-1, keepdims=True)
    halfway = to_light - directions
    halfway /= np.linalg.norm(halfway, axis=-1, keepdims=True)
    diffuse = np.maximum((normals * to_light).sum(-1), 0)
    if light is not None:
        diffuse *= ~_in_shadow(points + 4 * _HIT_DISTANCE * normals, to_light, solids)
    specular = np.maximum((normals * halfway).sum(-1), 0) ** _SHININESS * (diffuse > 0)
    lit = colors * (_AMBIENT + _DIFFUSE * diffuse)[:, np.newaxis]
    return np.clip(lit + _SPECULAR * specular[:, np.newaxis], 0, 1)


def _in_shadow(points: np.ndarray, to_light: np.ndarray, solids: Sequence[Solid]) -> np.ndarray:
    """Whether [N] something is between points [N, 3] and the light."""
    shadow = np.zeros(len(points), bool)
    shadow[_march(points, to_light, solids, 0.0, _LIGHT_DISTANCE)[1]] = True
    return shadow
