"""Images whose poses contradict what they share with others.

Where a thing looks alike from several sides COLMAP takes one side for another, and nothing in its
error of reprojection tells. But then there are pairs of images with matches that fit each other and
do not fit the poses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycolmap

_MIN_MATCHES = 15
"""Of a pair that counts."""
_MAX_DISTANCE = 8.0
"""Pixels from where the poses say that a match can be."""
_MIN_FITTING = 0.5
"""Share of the matches of a pair that fit the poses, below which it contradicts them."""
_MAX_SHARE = 0.2
"""Of the matches of an image, that may be in pairs that contradict."""


def doubtful_images(database: Path, model: Path) -> list[str]:
    """Names of images with many matches in pairs that contradict the poses.

    It may be the pose of the image that is wrong, or that of images that it fits.

    Args:
      database: COLMAP's, with matches.
      model: folder of COLMAP's files of a reconstruction from it.
    """
    found = pycolmap.Reconstruction(model)
    matches: Counter[str] = Counter()
    contradicting: Counter[str] = Counter()
    for pair, distances in _pairs(database, found):
        contradicts = np.mean(distances < _MAX_DISTANCE) < _MIN_FITTING
        for name in pair:
            matches[name] += len(distances)
            contradicting[name] += len(distances) if contradicts else 0
    return sorted(
        name for name, count in matches.items() if contradicting[name] > _MAX_SHARE * count
    )


def _pairs(
    database: Path, found: pycolmap.Reconstruction
) -> Iterator[tuple[tuple[str, str], np.ndarray]]:
    """Names of two images, and for each of their matches by how many pixels it misses the poses."""
    images = {number: found.images[number] for number in found.reg_image_ids()}
    cameras = {number: found.cameras[image.camera_id] for number, image in images.items()}
    with pycolmap.Database.open(database) as opened:
        places = {
            number: np.asarray(cameras[number].cam_from_img(opened.read_keypoints(number)[:, :2]))
            for number in images
        }
        numbers, geometries = opened.read_two_view_geometries()
    for number, geometry in zip(numbers, geometries):
        one, other = pycolmap.pair_id_to_image_pair(number)
        matched = geometry.inlier_matches
        if one not in images or other not in images or len(matched) < _MIN_MATCHES:
            continue
        to_other = images[other].cam_from_world() * images[one].cam_from_world().inverse()
        distances = _epipolar_distances(
            to_other, places[one][matched[:, 0]], places[other][matched[:, 1]]
        )
        yield (images[one].name, images[other].name), distances * cameras[one].mean_focal_length()


def _epipolar_distances(
    to_other: pycolmap.Rigid3d, here: np.ndarray, there: np.ndarray
) -> np.ndarray:
    """How far matches are from lying on rays that meet, [N], to first order (Sampson 1982).

    Args:
      to_other: from the axes of one camera to those of the other.
      here: [N, 2], places on the image plane of the one, focal lengths.
      there: [N, 2], the same of the other.
    """
    x, y, z = to_other.translation
    across = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    essential = across @ to_other.rotation.matrix()
    here, there = (np.column_stack([place, np.ones(len(place))]) for place in (here, there))
    lines, other_lines = here @ essential.T, there @ essential
    slopes = np.column_stack([lines[:, :2], other_lines[:, :2]])
    distances: np.ndarray = np.abs((there * lines).sum(-1)) / np.maximum(
        np.linalg.norm(slopes, axis=-1), 1e-12
    )
    return distances
