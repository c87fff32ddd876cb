"""Lenses: rays against OpenCV's own model of them, and against closed forms."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.lenses import LensKind, plane_of

HEIGHT, WIDTH = 1080, 1920
FOCAL, CENTER = (1300.0, 1320.0), (955.0, 547.0)
PERSPECTIVE = {
    "k1": [0.12, 0, 0, 0],
    "radial": [-0.2, 0.05, 0, 0],
    "tangential": [0.0578, -0.0805, 0.0017, -0.0023],
    "full": [0.1, -0.05, 1e-3, -2e-3, 0.02, 0.05, 0.01, 0.005],
    "rational": [-0.31, 0.09, -4e-4, 3e-4, 0.013, 0.02, -0.01, 0.002],
}
FISHEYE = {"none": [0, 0, 0, 0], "usual": [0.03, -0.01, 0.004, -0.001]}


def camera(distortion: list[float], lens: LensKind, focal: tuple[float, float]) -> Cameras:
    pose = np.eye(4, dtype=np.float32)[np.newaxis, :3]
    return Cameras(
        camera_to_world=pose,
        focal=np.array([focal], np.float32),
        center=np.array([CENTER], np.float32),
        distortion=np.array([distortion], np.float32),
        height=HEIGHT,
        width=WIDTH,
        lens=lens,
    )


def pixels_and_directions(cameras: Cameras) -> tuple[np.ndarray, np.ndarray]:
    """Places over the whole image, borders too, and OpenCV's camera axes of rays through them."""
    row, column = (grid.ravel() for grid in np.mgrid[0:HEIGHT:27, 0:WIDTH:31])
    row, column = np.append(row, HEIGHT - 1), np.append(column, WIDTH - 1)
    rays = cameras.rays(np.zeros_like(row), row, column, pixel_centers=True)
    return np.stack([column, row], -1) + 0.5, rays.directions.numpy() * [1, -1, -1]


@pytest.mark.parametrize("distortion", PERSPECTIVE.values(), ids=PERSPECTIVE)
def test_perspective_rays_fall_where_opencv_says(distortion: list[float]) -> None:
    cameras = camera(distortion, "perspective", FOCAL)
    pixels, directions = pixels_and_directions(cameras)
    matrix = np.array([[FOCAL[0], 0, CENTER[0]], [0, FOCAL[1], CENTER[1]], [0, 0, 1]])
    coefficients = np.array(cameras.distortion[0], np.float64)
    projected, _ = cv2.projectPoints(
        directions.astype(np.float64), np.zeros(3), np.zeros(3), matrix, coefficients
    )
    # A pixel's place in 32 bits is known to 6e-5 of one.
    np.testing.assert_allclose(projected[:, 0], pixels, atol=1e-4)
    assert np.median(np.abs(projected[:, 0] - pixels)) < 5e-5


@pytest.mark.parametrize("distortion", FISHEYE.values(), ids=FISHEYE)
def test_fisheye_rays_fall_where_opencv_says(distortion: list[float]) -> None:
    cameras = camera(distortion, "fisheye", (620.0, 630.0))
    pixels, directions = pixels_and_directions(cameras)
    ahead = directions[:, 2] > 0.05  # cv2.fisheye divides by it
    assert ahead.mean() > 0.7
    matrix = np.array([[620.0, 0, CENTER[0]], [0, 630.0, CENTER[1]], [0, 0, 1]])
    projected, _ = cv2.fisheye.projectPoints(
        directions[ahead][:, np.newaxis].astype(np.float64),
        np.zeros(3),
        np.zeros(3),
        matrix,
        np.array(cameras.distortion[0], np.float64),
    )
    np.testing.assert_allclose(projected[:, 0], pixels[ahead], atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=-1), 1, atol=1e-6)


def test_fisheye_sees_behind_itself() -> None:
    """Without distortion the angle to the axis is the distance from the centre."""
    cameras = camera([0, 0, 0, 0], "fisheye", (300.0, 300.0))
    rays = cameras.rays([0, 0], [546, 546], [954, 1854], pixel_centers=True)
    angles = np.array([0.5, 899.5]) / 300
    expected = np.stack([np.sin(angles) * [-1, 1], [0, 0], -np.cos(angles)], -1)
    expected[:, 1] = np.sin(angles) * 0.5 / np.hypot([0.5, 899.5], 0.5)
    np.testing.assert_allclose(rays.directions, expected, atol=2e-3)
    assert rays.directions.numpy()[1, 2] > 0.9


def test_equirectangular_pictures_show_all_around() -> None:
    cameras = Cameras(
        camera_to_world=np.eye(4, dtype=np.float32)[np.newaxis, :3],
        focal=np.array([[400 / (2 * np.pi), 200 / np.pi]], np.float32),
        center=np.array([[200, 100]], np.float32),
        distortion=np.zeros([1, 4], np.float32),
        height=200,
        width=400,
        lens="equirectangular",
    )
    # The middle looks ahead, a quarter to the right right, the borders back, the upper row up.
    row = [100, 100, 100, 100, 0]
    column = [200, 300, 0, 100, 123]
    rays = cameras.rays([0] * 5, row, column, pixel_centers=False)
    expected = [[0, 0, -1], [1, 0, 0], [0, 0, 1], [-1, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(rays.directions, expected, atol=1e-6)


@pytest.mark.parametrize("lens", ["perspective", "fisheye", "equirectangular"])
def test_places_and_directions_are_inverse(lens: LensKind, rng: np.random.Generator) -> None:
    from tfnerf.geometry.lenses import directions_through

    places = rng.uniform(-1.4, 1.4, [100, 2])
    directions = directions_through(places, None, lens).numpy()
    np.testing.assert_allclose(plane_of(directions, lens), places, atol=1e-6)
