"""The box that a scene may fill."""

from __future__ import annotations

import dataclasses

import numpy as np
from small import small_scene

from tfnerf.geometry.cameras import NDC, Cameras
from tfnerf.geometry.poses import look_along
from tfnerf.scenes import Scene
from tfnerf.scenes.extent import scene_box, visible_box


def looking_along(*directions: list[float], positions: list[list[float]]) -> Scene:
    """One camera per direction, a right angle wide, near 1 and far 5."""
    up = np.array([0.0, 0.0, 1.0])
    poses = [
        look_along(-np.array(direction), up, np.array(position))
        for direction, position in zip(directions, positions)
    ]
    scene = small_scene(num_views=len(poses), height=16, width=16)
    cameras = Cameras.pinhole(np.stack(poses), 16, 16, 8.0)
    train = dataclasses.replace(scene.train, cameras=cameras)
    return dataclasses.replace(scene, splits={"train": train}, near=1.0, far=5.0)


def test_what_one_camera_sees_is_its_frustum() -> None:
    scene = looking_along([1, 0, 0], positions=[[0, 0, 0]])
    expected = [[1, -5, -5], [5, 5, 5]]
    # Rays go through the centres of pixels, half a pixel inside of the frustum.
    np.testing.assert_allclose(visible_box(scene), expected, atol=0.4)
    np.testing.assert_allclose(scene_box(scene), expected, atol=0.6)


def test_what_a_single_camera_of_several_sees_does_not_count() -> None:
    """Two that look at each other have a common space between them, a third one looks away."""
    scene = looking_along(
        [1, 0, 0], [-1, 0, 0], [0, 1, 0], positions=[[-3, 0, 0], [3, 0, 0], [0, 50, 0]]
    )
    low, high = scene_box(scene)
    assert visible_box(scene)[1][1] > 50
    assert high[1] < 6 and low[1] > -6
    np.testing.assert_allclose([low[0], high[0]], [-2, 2], atol=1.2)


def test_cameras_around_an_object_have_it_in_their_box() -> None:
    low, high = scene_box(small_scene(num_views=12))
    assert (low < -1.2).all() and (high > 1.2).all()
    assert (low > -3.5).all() and (high < 3.5).all()


def test_in_ndc_it_is_all_that_rays_pass() -> None:
    scene = small_scene()
    cameras = Cameras.pinhole(np.eye(4)[np.newaxis, :3], 12, 16, 24.0)
    train = dataclasses.replace(scene.train.select([0]), cameras=cameras)
    ndc = NDC(12, 16, 24.0)
    scene = dataclasses.replace(scene, splits={"train": train}, near=0.0, far=1.0, ndc=ndc)
    low, high = scene_box(scene)
    np.testing.assert_allclose(low, [-1, -1, -1], atol=0.1)
    np.testing.assert_allclose(high, [1, 1, 1], atol=0.1)
