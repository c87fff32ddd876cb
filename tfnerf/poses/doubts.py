"""Images whose poses contradict what they share with others.

Where a thing looks alike from several sides COLMAP takes one side for another, and nothing in its
error of reprojection tells. But then some pairs of images say by themselves that they were taken
from other directions than their poses have.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pycolmap

_MIN_MATCHES = 15
"""Of a pair that counts."""
_MAX_ANGLE = 20.0
"""Degrees by which the directions of a pair may be others than its poses say."""
_MAX_SHARE = 0.1
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
    for pair, count, angle in _pairs(database, found):
        for name in pair:
            matches[name] += count
            contradicting[name] += count if angle > _MAX_ANGLE else 0
    return sorted(
        name for name, count in matches.items() if contradicting[name] > _MAX_SHARE * count
    )


def _pairs(
    database: Path, found: pycolmap.Reconstruction
) -> Iterator[tuple[tuple[str, str], int, float]]:
    """Names of two images, their matches, and by how many degrees these contradict their poses."""
    images = {number: found.images[number] for number in found.reg_image_ids()}
    cameras = {number: found.cameras[image.camera_id] for number, image in images.items()}
    turns = {number: image.cam_from_world().rotation.matrix() for number, image in images.items()}
    options = pycolmap.TwoViewGeometryOptions()
    with pycolmap.Database.open(database) as opened:
        places = {
            number: opened.read_keypoints(number)[:, :2].astype(np.float64) for number in images
        }
        numbers, geometries = opened.read_two_view_geometries()
    for number, geometry in zip(numbers, geometries):
        one, other = pycolmap.pair_id_to_image_pair(number)
        if one not in images or other not in images:
            continue
        if len(geometry.inlier_matches) < _MIN_MATCHES:
            continue
        seen = (cameras[one], places[one], cameras[other], places[other])
        # Anew, because the lens was not known when the matches were verified.
        relative = pycolmap.estimate_calibrated_two_view_geometry(
            *seen, geometry.inlier_matches, options
        )
        if not pycolmap.estimate_two_view_geometry_pose(*seen, relative):
            continue
        assert relative.cam2_from_cam1 is not None  # it was found
        turn = turns[other] @ turns[one].T
        difference = relative.cam2_from_cam1.rotation.matrix().T @ turn
        angle = np.degrees(np.arccos(np.clip((np.trace(difference) - 1) / 2, -1, 1)))
        names = (images[one].name, images[other].name)
        yield names, len(relative.inlier_matches), float(angle)
