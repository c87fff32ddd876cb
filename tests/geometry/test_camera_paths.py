"""Poses and paths."""

from __future__ import annotations

import numpy as np
import pytest

from tfnerf.geometry.paths import (
    circle_path,
    interpolated,
    orbit_around,
    orbit_path,
    orbit_pose,
    spiral_path,
)
from tfnerf.geometry.poses import (
    average_pose,
    inward_frame,
    look_along,
    meeting_point,
    relative_to,
    scaled,
    to_4x4,
    transformed,
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


def test_a_spiral_before_what_begins_at_the_cameras_has_a_focus() -> None:
    forward = np.tile(np.eye(4)[:3], [5, 1, 1])
    forward[:, :2, 3] = np.random.default_rng(0).normal(size=[5, 2])
    np.testing.assert_allclose(spiral_path(forward, 0.0, 8.0), spiral_path(forward, 0.8, 8.0))


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


def tilted(poses: np.ndarray) -> np.ndarray:
    """Poses [V, 3, 4] turned, and moved off the origin."""
    frame = look_along(np.array([1.0, 2.0, 0.5]), np.array([0.0, 0.0, 1.0]), np.array([3, 1, -2]))
    return (to_4x4(frame) @ to_4x4(poses))[:, :3]


def test_an_orbit_goes_around_what_cameras_look_at() -> None:
    poses = tilted(np.stack([orbit_pose(azimuth, 0.4, 3.0) for azimuth in np.arange(0, 6.2, 0.3)]))
    path = orbit_around(poses, 12)
    center = path[:, :, 3] - 3 * path[:, :, 2]
    np.testing.assert_allclose(center, np.tile([3, 1, -2], [12, 1]), atol=0.05)
    is_rotation(path[:, :, :3])
    steps = np.linalg.norm(path[:, :, 3] - np.roll(path[:, :, 3], 1, axis=0), axis=-1)
    np.testing.assert_allclose(steps, steps[0])
    # The right side up: no further from the cameras' up than their elevation.
    assert (path[:, :, 1] @ poses[:, :, 1].mean(0) > 0).all()


def test_an_orbit_stays_where_cameras_were() -> None:
    azimuths = np.linspace(2.0, 3.5, 9)
    poses = np.stack([orbit_pose(azimuth, 0.4, 3.0) for azimuth in azimuths])
    path = orbit_around(tilted(poses), 40)
    to_nearest = np.linalg.norm(path[:, None, :, 3] - tilted(poses)[None, :, :, 3], axis=-1).min(1)
    apart = np.linalg.norm(poses[1, :, 3] - poses[0, :, 3])
    assert to_nearest.max() < apart
    reached = np.linalg.norm(path[:, None, :, 3] - tilted(poses)[None, :, :, 3], axis=-1).min(0)
    assert reached.max() < apart


@pytest.mark.parametrize("num_cameras", [2, 3, 6, 12, 40])
def test_an_orbit_is_found_for_evenly_spaced_cameras(num_cameras: int) -> None:
    """Their directions cancel out across the axis."""
    azimuths = 2 * np.pi * np.arange(num_cameras) / num_cameras + 0.1
    poses = np.stack([orbit_pose(azimuth, 0.3, 4.0) for azimuth in azimuths])
    path = orbit_around(tilted(poses), 10)
    assert np.isfinite(path).all()
    is_rotation(path[:, :, :3])
    np.testing.assert_allclose(np.linalg.norm(path[:, :, 3] - [3, 1, -2], axis=-1), 4, atol=1e-6)


def test_directions_that_cancel_out_have_no_average() -> None:
    poses = np.stack([orbit_pose(azimuth, 0.0, 4.0) for azimuth in (0, np.pi)])
    with pytest.raises(ValueError, match="cancel out"):
        average_pose(poses)


def test_there_is_no_orbit_for_cameras_that_look_the_same_way() -> None:
    poses = np.tile(np.eye(3, 4), [5, 1, 1])
    poses[:, 0, 3] = np.arange(5)
    with pytest.raises(ValueError, match="look the same way"):
        orbit_around(poses, 10)


def test_a_path_through_keyframes_meets_them() -> None:
    keyframes = np.stack([orbit_pose(azimuth, 0.1 * azimuth, 3.0) for azimuth in range(4)])
    times = np.linalg.norm(np.diff(keyframes[:, :, 3], axis=0), axis=-1).cumsum()
    path = interpolated(keyframes, 1001)
    for time, keyframe in zip([0, *times], keyframes):
        np.testing.assert_allclose(path[round(1000 * time / times[-1])], keyframe, atol=5e-3)
    np.testing.assert_allclose(path[[0, -1]], keyframes[[0, -1]], atol=1e-9)
    is_rotation(path[:, :, :3])
    assert np.abs(np.diff(path, axis=0)).max() < 0.03


def test_a_camera_that_only_turns_can_be_interpolated() -> None:
    keyframes = np.stack([orbit_pose(azimuth, 0.2, 3.0) for azimuth in (0.0, 0.5, 1.0)])
    keyframes[:, :, 3] = 1.0
    path = interpolated(keyframes, 5)
    np.testing.assert_allclose(path[:, :, 3], 1.0)
    np.testing.assert_allclose(path[[0, 2, 4]], keyframes, atol=1e-9)


def test_a_similarity_moves_positions_and_keeps_rotations_pure() -> None:
    poses = orbit_path(5)
    turn = look_along(np.array([1.0, 2.0, 0.5]), np.array([0.0, 0.0, 1.0]), np.array([3, 1, -2]))
    similarity = to_4x4(turn) @ np.diag([0.5, 0.5, 0.5, 1])
    moved = transformed(similarity, poses)
    is_rotation(moved[:, :, :3])
    ahead = poses[:, :, 3] - 2 * poses[:, :, 2]
    expected = ahead @ similarity[:3, :3].T + similarity[:3, 3]
    np.testing.assert_allclose(moved[:, :, 3] - 2 * 0.5 * moved[:, :, 2], expected)
    np.testing.assert_allclose(transformed(np.linalg.inv(similarity), moved), poses, atol=1e-12)
