"""Axes of a scene: what is upwards, and along what walls run."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tfnerf.geometry.axes import scene_axes, squared, upright
from tfnerf.geometry.poses import look_along

UP = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])


def to_up(angle: float = 0.0) -> np.ndarray:
    """A rotation [3, 3] of z to `UP`, after a turn around z by degrees."""
    align, _ = Rotation.align_vectors([UP], [[0, 0, 1]])
    return np.asarray((align * Rotation.from_euler("z", angle, degrees=True)).as_matrix())


def walk(turns: np.ndarray, height: float = 3.0, roll: float = 0.0) -> np.ndarray:
    """Poses [V, 3, 4] at turns around z, that look down at the origin, held askew by radians."""
    poses = []
    for index, turn in enumerate(turns):
        position = np.array([4 * np.cos(turn), 4 * np.sin(turn), height])
        pose = look_along(position, np.array([0.0, 0, 1]), position)
        askew = Rotation.from_euler("z", roll * (-1) ** index).as_matrix()
        pose[:, :3] = pose[:, :3] @ askew
        poses.append(pose)
    return np.stack(poses)


def room(num_points: int = 3000, noise: float = 0.01) -> np.ndarray:
    """Points [P, 3] on a floor and two walls, and some that belong to neither."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, [num_points, 3])
    points[::4, 0] = -1
    points[1::4, 1] = 1
    points[2::4, 2] = -1
    return points + noise * rng.normal(size=points.shape)


def degrees_from_axes(rotation: np.ndarray, truth: np.ndarray) -> float:
    """Between the axes of a rotation and those of the truth, whichever is called which."""
    cosines = np.abs(rotation[:3, :3] @ truth).max(-1)
    return float(np.degrees(np.arccos(np.clip(cosines, -1, 1))).max())


@pytest.mark.parametrize("turns", [np.linspace(0, 0.9, 12), np.linspace(0, 6, 30)])
@pytest.mark.parametrize("roll", [0.0, 0.06])
def test_up_is_that_of_cameras_that_look_down(turns: np.ndarray, roll: float) -> None:
    """On an arc the mean of their y axes is tilted by more than thirty degrees."""
    poses = np.array([to_up() @ pose for pose in walk(turns, roll=roll)])
    rotation = upright(poses)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(4), atol=1e-12)
    assert rotation[2, :3] @ UP > np.cos(np.radians(7.0))


def test_cameras_that_are_level_stay_so_however_short_their_arc() -> None:
    """Held askew by two degrees, more and more."""
    poses = walk(np.linspace(-0.2, 0.2, 12), height=0.0)
    for pose, roll in zip(poses, np.radians(np.linspace(-2, 2, 12))):
        pose[:, :3] = pose[:, :3] @ Rotation.from_euler("z", roll).as_matrix()
    assert upright(poses)[2, 2] > np.cos(np.radians(8))


def test_up_of_cameras_side_by_side_is_that_of_the_cameras() -> None:
    poses = np.tile(np.eye(4)[:3], [5, 1, 1])
    poses[:, 0, 3] = np.arange(5)
    np.testing.assert_allclose(upright(poses)[2, :3], [0, 1, 0], atol=1e-9)


def test_cameras_that_are_turned_over_say_nothing() -> None:
    poses = np.stack([np.eye(4)[:3], np.diag([-1.0, -1, 1, 1])[:3]])
    np.testing.assert_array_equal(upright(poses), np.eye(4))


@pytest.mark.parametrize("angle", [0.0, 13.0, 30.25, 45.0, 71.5])
@pytest.mark.parametrize("tilt", [0.0, 3.0])
def test_walls_come_to_lie_across_the_axes(angle: float, tilt: float) -> None:
    turned = Rotation.from_euler("zx", [angle, tilt], degrees=True).as_matrix()
    rotation = squared(room() @ turned.T)
    assert degrees_from_axes(rotation, turned) < 0.5
    assert rotation[2, 2] > np.cos(np.radians(5.01) * np.sqrt(2))


def test_what_has_no_walls_is_left_level() -> None:
    rng = np.random.default_rng(0)
    ball = rng.normal(size=[3000, 3])
    for points in (ball, ball[:99], np.zeros([0, 3]), np.ones([500, 3]), 1e-200 * ball):
        np.testing.assert_allclose(squared(points)[2], [0, 0, 1, 0], atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_points_that_are_no_places_do_not_count() -> None:
    lies, poses = to_up(30.0), np.array([to_up(30.0) @ pose for pose in walk(np.linspace(0, 6, 9))])
    broken = np.array([[np.nan, 0, 0], [np.inf, 0, 0], [1e300, -1e300, 0]])
    points = np.concatenate([room() @ lies.T, broken])
    assert degrees_from_axes(scene_axes(poses, points), lies) < 0.5
    np.testing.assert_array_equal(scene_axes(poses, broken), upright(poses))


def test_axes_are_those_of_the_scene_however_it_lies() -> None:
    lies = to_up(30.0)
    poses = np.array([lies @ pose for pose in walk(np.linspace(0, 2, 20))])
    rotation = scene_axes(poses, room() @ lies.T)
    assert degrees_from_axes(rotation, lies) < 0.5
    assert rotation[2, :3] @ UP > 0.999
