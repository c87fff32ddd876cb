"""Poses and paths."""

from __future__ import annotations

import numpy as np
import pytest

from tfnerf.camera_paths import (
    average_pose,
    circle_path,
    inward_frame,
    look_along,
    meeting_point,
    orbit_path,
    relative_to,
    scaled,
    spiral_path,
    to_4x4,
)


def looking_at(point: np.ndarray, positions: np.ndarray) -> np.ndarray:
    up = np.array([0.0, 0.0, 1.0])
    return np.stack([look_along(position - point, up, position) for position in positions])


@pytest.fixture
def inward(rng: np.random.Generator) -> np.ndarray:
    """Cameras around (1, 2, 3) that look at it."""
    offsets = rng.normal(size=[12, 3])
    return looking_at(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 3.0]) + 4 * offsets)


def is_rotation(matrices: np.ndarray) -> None:
    products = matrices @ np.swapaxes(matrices, -1, -2)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(matrices), 1)


def test_all_paths_are_made_of_rotations(inward: np.ndarray) -> None:
    forward = np.tile(np.eye(4)[:3], [5, 1, 1])
    forward[:, 0, 3] = range(5)
    is_rotation(inward[:, :, :3])
    is_rotation(orbit_path()[:, :, :3])
    is_rotation(spiral_path(forward, 1.0, 10.0)[:, :, :3])
    frame = inward_frame(inward)
    is_rotation(frame[:, :3])
    is_rotation(circle_path(relative_to(frame, inward))[:, :, :3])


def test_an_orbit_looks_at_the_origin_from_its_radius() -> None:
    path = orbit_path(8, elevation=0.3, radius=2.5)
    np.testing.assert_allclose(np.linalg.norm(path[:, :, 3], axis=-1), 2.5)
    np.testing.assert_allclose(path[:, :, 2], path[:, :, 3] / 2.5, atol=1e-9)
    np.testing.assert_allclose(path[:, 2, 3], 2.5 * np.sin(0.3))


def test_a_spiral_keeps_looking_at_its_focus() -> None:
    forward = np.tile(np.eye(4)[:3], [5, 1, 1])
    forward[:, :2, 3] = np.random.default_rng(0).normal(size=[5, 2])
    path = spiral_path(forward, 2.0, 8.0)
    point, _ = meeting_point(path)
    focus = 1 / (0.25 / 1.8 + 0.75 / 40)
    np.testing.assert_allclose(point, average_pose(forward) @ [0, 0, -focus, 1], atol=1e-6)


def test_cameras_that_look_at_a_point_meet_there(inward: np.ndarray) -> None:
    point, convergence = meeting_point(inward)
    np.testing.assert_allclose(point, [1, 2, 3], atol=1e-9)
    assert convergence > 0.2
    parallel = np.tile(np.eye(4)[:3], [5, 1, 1])
    parallel[:, 0, 3] = range(5)
    assert meeting_point(parallel)[1] < 1e-9


def test_the_average_pose_of_one_pose_is_that_pose(inward: np.ndarray) -> None:
    np.testing.assert_allclose(average_pose(inward[:1]), inward[0], atol=1e-9)


def test_relative_poses_lead_back(inward: np.ndarray) -> None:
    frame = inward[3]
    relative = relative_to(frame, inward)
    np.testing.assert_allclose(relative[3], np.eye(4)[:3], atol=1e-9)
    np.testing.assert_allclose((to_4x4(frame) @ to_4x4(relative))[:, :3], inward, atol=1e-9)


def test_scaling_moves_positions_only(inward: np.ndarray) -> None:
    twice = scaled(inward, 2)
    np.testing.assert_allclose(twice[:, :, 3], 2 * inward[:, :, 3])
    np.testing.assert_array_equal(twice[:, :, :3], inward[:, :, :3])
