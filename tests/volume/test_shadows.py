"""Shadow hints: what a grid of densities lets through to points."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.fields.density_grid import DensityGrid
from tfnerf.settings import Config
from tfnerf.volume.compositing import sample_weights, surface_depths
from tfnerf.volume.shadows import lit_by


def ball(density: float = 100.0, num_times: int | None = None) -> DensityGrid:
    """Of radius 0.3 around the origin, in a box from -1 to 1; in the first span of time only."""
    grid = DensityGrid(64, num_times)
    grid.box.corners.assign([[-1.0] * 3, [1.0] * 3])
    centers = (np.indices([64] * 3) + 0.5) / 32 - 1
    cells = np.where(np.linalg.norm(centers, axis=0) < 0.3, density, 0)
    grid.density.assign(cells if num_times is None else [cells] + [0 * cells] * (num_times - 1))
    return grid


def lit(grid: DensityGrid, point: list, light: list, **conditions: float) -> float:
    rows = {name: tf.constant([value], tf.float32) for name, value in conditions.items()}
    found = lit_by(
        grid,
        tf.constant([point], tf.float32),
        {"light": tf.constant([light], tf.float32), **rows},
    )
    np.testing.assert_allclose(found["light"][0], np.subtract(light, point), atol=1e-6)
    return float(found["lit"][0])


def test_a_ball_throws_a_shadow() -> None:
    grid = ball()
    assert lit(grid, [-0.8, 0, 0], [5, 0, 0]) < 1e-3  # behind it
    assert lit(grid, [-0.8, 0.5, 0], [5, 0.5, 0]) == 1  # beside it
    assert lit(grid, [0.3, 0, 0], [5, 0, 0]) == 1  # on its bright side, which it does not shade
    assert lit(grid, [-0.3, 0, 0], [5, 0, 0]) < 1e-3  # on its dark side
    assert lit(grid, [-0.8, 0, 0], [-0.5, 0, 0]) == 1  # behind the light
    assert lit(grid, [3, 3, 3], [5, 5, 5]) == 1  # outside of the box, and so is the light


def test_thin_fog_lets_some_light_through() -> None:
    """Beer and Lambert's law along the diameter."""
    np.testing.assert_allclose(lit(ball(2.0), [-0.9, 0, 0], [5, 0, 0]), np.exp(-1.2), rtol=0.05)


def test_what_moves_throws_its_shadow_when_it_is_there() -> None:
    grid = ball(num_times=2)
    assert lit(grid, [-0.8, 0, 0], [5, 0, 0], time=0.2) < 1e-3
    assert lit(grid, [-0.8, 0, 0], [5, 0, 0], time=0.8) == 1


def test_the_surface_is_where_a_quarter_of_the_weight_lies_before(rng: np.random.Generator) -> None:
    densities = tf.constant(rng.uniform(0, 3, [20, 12]), tf.float32)
    depths = tf.constant(np.sort(rng.uniform(2, 6, [20, 12])), tf.float32)
    lengths = tf.fill([20, 12], 0.3)
    weights = sample_weights(densities, lengths).numpy()
    found = surface_depths(densities, depths, lengths).numpy()
    assert found.shape == (20, 1)
    for row in range(20):
        passed, sample = weights[row, 0], 0
        while passed < 0.25 * weights[row].sum():
            sample += 1
            passed += weights[row, sample]
        assert found[row, 0] == depths[row, sample]


def test_each_part_of_a_ray_has_a_surface_of_its_own() -> None:
    """At the edge of a solid what is behind it may be in the shade, or out of it."""
    densities = tf.constant([[0, 0.7, 0, 0, 0, 50]], tf.float32)
    depths = tf.constant([[1, 2, 3, 4, 5, 6]], tf.float32)
    lengths = tf.ones([1, 6])
    np.testing.assert_array_equal(surface_depths(densities, depths, lengths, 2), [[2, 6]])
    np.testing.assert_array_equal(surface_depths(densities, depths, lengths, 1), [[2]])


def test_hints_need_a_light_and_a_grid() -> None:
    with pytest.raises(UserError, match="--shadow_hints: needs --relightable"):
        Config().replaced(sampler="grid", shadow_hints=True)
    with pytest.raises(UserError, match="--shadow_hints: means something for --sampler=grid only"):
        Config().replaced(relightable=True, shadow_hints=True)
