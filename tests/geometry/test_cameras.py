"""Cameras to rays, against projection and geometry."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfnerf.geometry.cameras import NDC, Cameras, Rays
from tfnerf.geometry.lenses import distort, undistort
from tfnerf.geometry.poses import look_along


def camera(**changes: object) -> Cameras:
    position = np.array([1.0, -2.0, 0.5])
    pose = look_along(position, np.array([0.0, 0.0, 1.0]), position)
    return dataclasses.replace(Cameras.pinhole(pose[None], 40, 60, 50.0), **changes)


def project(cameras: Cameras, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World points [N, 3] to pixels [N, 2] and depths [N], step by step in NumPy."""
    pose = cameras.camera_to_world[0].astype(np.float64)
    local = (points - pose[:, 3]) @ pose[:, :3]
    depth = -local[:, 2]
    plane = np.stack([local[:, 0] / depth, -local[:, 1] / depth], -1)
    distortion = np.tile(cameras.distortion, [len(points), 1])
    bent = distort(tf.constant(plane, tf.float32), tf.constant(distortion)).numpy()
    return bent * cameras.focal[0] + cameras.center[0], depth


def all_rays(cameras: Cameras, *, pixel_centers: bool) -> tuple[Rays, np.ndarray]:
    row, column = np.divmod(np.arange(cameras.height * cameras.width), cameras.width)
    rays = cameras.rays(np.zeros_like(row), row, column, pixel_centers=pixel_centers)
    return rays, np.stack([column, row], -1) + (0.5 if pixel_centers else 0.0)


def test_points_on_a_ray_project_to_its_pixel_at_their_depth() -> None:
    lens = np.float32([[0.06, -0.08, -0.001, 0.0002]])
    for cameras in (camera(), camera(center=np.float32([[25, 22]])), camera(distortion=lens)):
        for pixel_centers in (False, True):
            rays, pixels = all_rays(cameras, pixel_centers=pixel_centers)
            for depth in (0.5, 3.0):
                points = (rays.origins + depth * rays.directions).numpy().astype(np.float64)
                projected, depths = project(cameras, points)
                np.testing.assert_allclose(projected, pixels, atol=1e-3)
                np.testing.assert_allclose(depths, depth, rtol=1e-5)


def test_view_directions_are_unit_vectors_along_the_rays() -> None:
    rays, _ = all_rays(camera(), pixel_centers=True)
    np.testing.assert_allclose(tf.norm(rays.viewdirs, axis=-1), 1, rtol=1e-6)
    cosine = tf.reduce_sum(rays.viewdirs * rays.directions, -1) / tf.norm(rays.directions, axis=-1)
    np.testing.assert_allclose(cosine, 1, rtol=1e-6)


def test_each_ray_belongs_to_the_camera_of_its_view() -> None:
    one = camera()
    poses = np.concatenate([one.camera_to_world, one.camera_to_world + np.float32(0.25)])
    two = Cameras.pinhole(poses, 40, 60, 50.0)
    rays = two.rays([0, 1, 1], [3, 3, 5], [4, 4, 6], pixel_centers=True)
    np.testing.assert_array_equal(rays.origins, poses[[0, 1, 1], :, 3])
    alone = two[1:2].rays([0, 0], [3, 5], [4, 6], pixel_centers=True)
    np.testing.assert_array_equal(rays.directions[1:], alone.directions)


def test_undistort_inverts_distort(rng: np.random.Generator) -> None:
    points = rng.uniform(-0.8, 0.8, [200, 2]).astype(np.float32)
    distortion = rng.uniform(-0.02, 0.02, [200, 4]).astype(np.float32)
    np.testing.assert_allclose(
        undistort(distort(points, distortion), distortion), points, atol=1e-5
    )


def test_points_on_a_ray_stay_on_it_in_ndc(rng: np.random.Generator) -> None:
    """A point at depth t of the world lies at t' = 1 - near / depth of the warped ray."""
    ndc = NDC(30, 40, 33.0, near=1.0)
    origins = rng.uniform(-0.3, 0.3, [50, 3])
    directions = np.concatenate([rng.uniform(-0.4, 0.4, [50, 2]), -np.ones([50, 1])], -1)
    viewdirs = directions / np.linalg.norm(directions, axis=-1, keepdims=True)
    warped = ndc.warp(Rays(*(tf.constant(a, tf.float32) for a in (origins, directions, viewdirs))))
    np.testing.assert_allclose(warped.viewdirs, viewdirs, rtol=1e-6)
    for t in (1.5, 4.0, 100.0):
        x, y, z = (origins + t * directions).T
        expected = np.stack(
            [
                -ndc.focal / (ndc.width / 2) * x / z,
                -ndc.focal / (ndc.height / 2) * y / z,
                1 + 2 / z,
            ],
            -1,
        )
        along = (1 + 1 / z)[:, None]
        actual = warped.origins + along * warped.directions
        np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_resized_cameras_see_the_same() -> None:
    cameras = camera(
        focal=np.float32([[20, 24]]),
        center=np.float32([[9, 6]]),
        distortion=np.float32([[0.05, 0, 0, 0]]),
        height=14,
        width=20,
    )
    half = cameras.resized(0.5)
    assert (half.height, half.width) == (7, 10)
    # Four pixels have the corner in common that is the centre of the one they become.
    one = half.rays([0], [3], [7], pixel_centers=True)
    other = cameras.rays([0], [7], [15], pixel_centers=False)
    np.testing.assert_allclose(one.directions, other.directions, rtol=1e-6)
    tiny = cameras.resized(1e-3)
    assert (tiny.height, tiny.width) == (1, 1)


def test_depths_in_ndc_are_depths_in_the_world(rng: np.random.Generator) -> None:
    """Points at known depths along rays, warped: how far along the warped ray they are tells."""
    ndc = NDC(height=20, width=30, focal=25.0, near=1.0)
    origins = rng.uniform(-0.3, 0.3, [50, 3]).astype(np.float32)
    directions = np.concatenate([rng.uniform(-0.5, 0.5, [50, 2]), -np.ones([50, 1])], -1)
    depths = rng.uniform(1.4, 30, 50)
    rays = Rays(tf.constant(origins), tf.constant(directions, tf.float32), tf.constant(origins))
    warped = ndc.warp(rays)
    points = ndc.warp_points(tf.constant(origins + depths[:, None] * directions, tf.float32))
    along = (points - warped.origins)[:, 2] / warped.directions[:, 2]
    np.testing.assert_allclose(ndc.depths(rays, along), depths, rtol=2e-4)
    assert np.isfinite(ndc.depths(rays, tf.ones(50))).all()
