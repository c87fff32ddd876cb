"""Do photographs and cameras agree? Points that two photographs share tell.

A point seen in two views lies on a ray of each, so these rays meet if poses, focal lengths and lens
are right, and where they meet is how far away the scene is.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import to_4x4, transformed
from tfnerf.scenes import Views

_MAX_SIDE = 480
"""Pixels of the images that are matched."""
_NUM_VIEWS = 16
_NUM_KEYPOINTS = 600
_MAX_RATIO = 0.8
"""Of the distances of the best and the second best match."""
_MIN_PARALLAX = np.radians(1)
"""Rays nearer to parallel than this do not tell where they meet."""
FIT_PIXELS = 2.0
"""Rays that pass this close to each other meet, in pixels of the images that are matched."""


class Matches(NamedTuple):
    """Points that two views share, M of them."""

    views: np.ndarray
    """[M, 2] int, indices of the views."""
    pixels: np.ndarray
    """[M, 2, 2] float, row and column in each, pixels of `cameras`."""
    cameras: Cameras
    """Of all views, with images as small as those that were matched."""


class Fit(NamedTuple):
    """How well rays through matched points meet."""

    gap: np.ndarray
    """[M], by how much they miss each other, pixels; infinite if they meet behind a camera."""
    depths: np.ndarray
    """[M, 2], where they meet, as a depth of each view, scene units."""
    points: np.ndarray
    """[M, 3], the same in scene coordinates."""

    @property
    def fitting(self) -> np.ndarray:
        """[M] bool, which of them meet."""
        return self.gap < FIT_PIXELS

    @property
    def share(self) -> float:
        """The fraction that meet; NaN where there are no matches."""
        return float(self.fitting.mean()) if len(self.gap) else float("nan")


def match_views(views: Views, grays: list[np.ndarray]) -> Matches:
    """Matches ORB features (Rublee et al. 2011) of some views with those of their neighbours.

    Args:
      views: of a scene.
      grays: the same, small and gray (`small_gray`).
    """
    from skimage.feature import match_descriptors

    cameras = views.cameras.resized(max(grays[0].shape) / max(views.images.shape[1:3]))
    features = {}
    pairs = _pairs(cameras)
    for view in sorted({int(view) for pair in pairs for view in pair}):
        features[view] = _features(grays[view])
    found_views, found_pixels = [np.zeros([0, 2], int)], [np.zeros([0, 2, 2])]
    for one, other in pairs:
        (points, descriptors), (other_points, other_descriptors) = features[one], features[other]
        if not len(points) or not len(other_points):
            continue
        indices = match_descriptors(descriptors, other_descriptors, max_ratio=_MAX_RATIO)
        found_views.append(np.tile([one, other], [len(indices), 1]))
        found_pixels.append(np.stack([points[indices[:, 0]], other_points[indices[:, 1]]], axis=1))
    return Matches(np.concatenate(found_views), np.concatenate(found_pixels), cameras)


def fit(matches: Matches, cameras: Cameras) -> Fit:
    """How well matches fit cameras, which may be others than those that were given."""
    origins, directions = zip(*(_rays(matches, cameras, side) for side in range(2)))
    to_other = origins[1] - origins[0]
    # Where two lines come closest: the normal equations of |o + t d - (o' + t' d')|^2.
    a, c = ((d * d).sum(-1) for d in directions)
    b = (directions[0] * directions[1]).sum(-1)
    e, f = ((d * to_other).sum(-1) for d in directions)
    determinant = np.maximum(a * c - b * b, 1e-12 * a * c)
    depths = np.stack([(e * c - b * f) / determinant, (b * e - a * f) / determinant], -1)
    ends = [o + t[:, None] * d for o, t, d in zip(origins, depths.T, directions)]
    distance = np.linalg.norm(ends[1] - ends[0], axis=-1)
    focal = float(cameras.focal.mean())
    gap = focal * distance / np.maximum(np.abs(depths).sum(-1), 1e-12)
    wide = determinant > a * c * np.sin(_MIN_PARALLAX) ** 2
    gap = np.where((depths > 0).all(-1) & wide, gap, np.inf)
    return Fit(gap, depths, (ends[0] + ends[1]) / 2)


def small_gray(image: np.ndarray, level: int) -> np.ndarray:
    """An image [H, W, 3 or 4] as brightness [h, w], 0 to 1, its longest side bounded."""
    from skimage.transform import resize

    rgb = image[..., :3].astype(np.float32) / level
    if image.shape[-1] == 4:
        rgb = rgb * (image[..., 3:].astype(np.float32) / level)
    gray = rgb @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    factor = min(1.0, _MAX_SIDE / max(gray.shape))
    shape = [max(1, round(factor * side)) for side in gray.shape]
    return np.asarray(resize(gray, shape, anti_aliasing=factor < 1), np.float32)


def with_flipped_axes(cameras: Cameras) -> Cameras:
    """As if y pointed down and z forwards (OpenCV, COLMAP) in the file."""
    poses = cameras.camera_to_world * np.array([1, -1, -1, 1], np.float32)
    return dataclasses.replace(cameras, camera_to_world=poses)


def with_inverted_poses(cameras: Cameras, scene_to_world: np.ndarray) -> Cameras:
    """As if the file held world_to_camera: inverted in its own coordinates, before any scaling."""
    poses = transformed(scene_to_world, cameras.camera_to_world.astype(np.float64))
    inverted = np.linalg.inv(to_4x4(poses))[:, :3].astype(np.float32)
    return dataclasses.replace(cameras, camera_to_world=inverted)


def with_more_distortion(cameras: Cameras, k1: float) -> Cameras:
    """As if the lens bent light more than the file says."""
    return dataclasses.replace(
        cameras,
        distortion=cameras.distortion
        + k1 * np.eye(1, cameras.distortion.shape[1], dtype=np.float32),
    )


def _pairs(cameras: Cameras) -> list[tuple[int, int]]:
    """Some views, each with one that by its pose sees much the same, and with the next one.

    The next one because poses may be wrong, and captures are mostly taken in order.
    """
    positions, backs = cameras.camera_to_world[:, :, 3], cameras.camera_to_world[:, :, 2]
    pairs = set()
    for one in np.unique(np.linspace(0, len(cameras) - 1, _NUM_VIEWS).astype(int)):
        distances = np.linalg.norm(positions - positions[one], axis=-1)
        turned = backs @ backs[one] < np.cos(np.radians(60))
        distances[turned] = distances[one] = np.inf
        nearest = int(np.argmin(distances))
        neighbours = [nearest] if np.isfinite(distances[nearest]) else []
        neighbours += [one + 1] if one + 1 < len(cameras) else []
        pairs |= {(min(one, other), max(one, other)) for other in map(int, neighbours)}
    return sorted((int(one), int(other)) for one, other in pairs)


def _features(gray: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [K, 2] (row and column) and their descriptors [K, 256]."""
    from skimage.feature import ORB

    detector = ORB(n_keypoints=_NUM_KEYPOINTS)
    try:
        detector.detect_and_extract(gray)
    except (RuntimeError, IndexError, ValueError):  # too small, or nothing to be seen in it
        return np.zeros([0, 2]), np.zeros([0, 256], bool)
    return detector.keypoints, detector.descriptors


def _rays(matches: Matches, cameras: Cameras, side: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = matches.pixels[:, side]
    # A keypoint at (0, 0) is in the centre of the first pixel.
    rays = cameras.rays(
        matches.views[:, side].astype(np.int32), pixels[:, 0], pixels[:, 1], pixel_centers=True
    )
    return rays.origins.numpy().astype(np.float64), rays.directions.numpy().astype(np.float64)
