"""The grid of densities against cells found one by one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from known_fields import KnownField

from tfnerf.fields.density_grid import DensityGrid
from tfnerf.geometry.cameras import Rays

BOX = np.array([[-1.0, -2.0, 0.5], [1.0, 1.0, 1.5]])
SIZE = BOX[1] - BOX[0]


def small_grid(resolution: int = 6) -> DensityGrid:
    grid = DensityGrid(resolution)
    grid.box.corners.assign(BOX)
    grid.density.assign(np.random.default_rng(0).uniform(0, 9, [resolution] * 3))
    return grid


def known_density(density: Callable[[tf.Tensor], tf.Tensor]) -> KnownField:
    return KnownField(density, lambda features, viewdirs: features)


def some_rays(count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Through the box and beside it, from all sides."""
    generator = np.random.default_rng(1)
    origins = generator.normal(size=[count, 3]) * 4
    targets = generator.uniform(*BOX, [count, 3]) + generator.normal(size=[count, 3]) * 0.7
    return origins.astype(np.float32), (targets - origins).astype(np.float32)


def test_a_span_is_the_part_of_a_ray_that_is_in_the_box() -> None:
    grid = small_grid()
    origins, directions = some_rays()
    begin, end = grid.span(Rays(origins, directions, directions), 0.25, 2.0)
    depths = np.linspace(0.25, 2.0, 4001)
    for ray in range(len(origins)):
        points = origins[ray] + depths[:, np.newaxis] * directions[ray]
        inside = depths[((points >= BOX[0]) & (points <= BOX[1])).all(-1)]
        first, last = float(begin[ray, 0]), float(end[ray, 0])
        if len(inside):
            np.testing.assert_allclose([first, last], inside[[0, -1]], atol=1e-3)
        else:
            assert last - first < 1e-3


def test_a_ray_along_a_side_of_the_box_has_a_span_too() -> None:
    grid = small_grid()
    down = np.float32([[0, 0, -1]])
    begin, end = grid.span(Rays(np.float32([[0, 0, 3]]), down, down), 0.0, 9.0)
    np.testing.assert_allclose([float(begin[0, 0]), float(end[0, 0])], [1.5, 2.5], atol=1e-5)
    begin, end = grid.span(Rays(np.float32([[3, 0, 3]]), down, down), 0.0, 9.0)
    assert float(begin[0, 0]) > float(end[0, 0])


def test_what_is_along_rays_is_what_the_cells_hold_that_they_pass() -> None:
    grid = small_grid()
    grid.occupied.assign(grid.density < 4)
    origins, directions = some_rays()
    begin, end = (
        depth.numpy() for depth in grid.span(Rays(origins, directions, directions), 0.0, 9.0)
    )
    hit = (begin < end)[:, 0]
    origins, directions, begin, end = origins[hit], directions[hit], begin[hit], end[hit]
    depths = begin + (end - begin) * np.float32([0.13, 0.46, 0.77])
    densities, occupied = grid.look_along(Rays(origins, directions, directions), depths)
    points = origins[:, np.newaxis] + directions[:, np.newaxis] * depths[..., np.newaxis]
    places = (points - BOX[0]) / SIZE * grid.resolution
    clear = np.abs(places - np.round(places)).min(-1) > 1e-3
    cells = np.clip(places.astype(int), 0, grid.resolution - 1)
    expected = grid.density.numpy()[tuple(np.moveaxis(cells, -1, 0))]
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(densities.numpy()[clear], expected[clear])
    np.testing.assert_array_equal(occupied.numpy()[clear], expected[clear] < 4)


def test_occupied_are_dense_cells_and_their_neighbours() -> None:
    grid = small_grid(7)
    density = np.zeros([7, 7, 7])
    density[2, 3, 6] = 1.0
    density[5, 0, 0] = 1e-4
    grid.density.assign(density)
    grid.mark_occupied()
    expected = np.zeros([7, 7, 7], bool)
    expected[1:4, 2:5, 5:7] = True
    np.testing.assert_array_equal(grid.occupied.numpy(), expected)
    assert grid.occupied_share == expected.mean()


def test_fog_that_is_larger_than_the_scene_does_not_cut_it_off() -> None:
    grid = small_grid(12)
    occupied = np.zeros([12, 12, 12], bool)
    occupied[0:4, 0:4, 0:4] = True
    occupied[8:11, 8:11, 8:11] = True
    grid.occupied.assign(occupied)
    cells = np.array([[0, 0, 0], [11, 11, 11]])
    np.testing.assert_allclose(grid.occupied_box(), BOX[0] + SIZE * cells / 12)


def test_specks_do_not_keep_the_box_large() -> None:
    grid = small_grid(12)
    occupied = np.zeros([12, 12, 12], bool)
    occupied[3:9, 2:7, 4:8] = True
    occupied[11, 11, 11] = True
    grid.occupied.assign(occupied)
    cells = np.array([[3, 2, 4], [9, 7, 8]])
    np.testing.assert_allclose(grid.occupied_box(), BOX[0] + SIZE * cells / 12)
    grid.occupied.assign(np.zeros_like(occupied))
    np.testing.assert_array_equal(grid.occupied_box(), BOX)


def test_a_grid_is_filled_with_the_densities_at_the_centres_of_its_cells() -> None:
    grid = small_grid(6)
    grid.fill(known_density(lambda points: tf.reduce_sum(points**2, -1)))
    cells = (np.moveaxis(np.indices([6, 6, 6]), 0, -1) + 0.5) / 6
    expected = ((BOX[0] + SIZE * cells) ** 2).sum(-1)
    np.testing.assert_allclose(grid.density, expected, rtol=1e-5)


def test_a_field_that_is_asked_point_by_point_fills_the_grid_in_time() -> None:
    """As long as it is not asked again, a cell keeps most of what it was found to hold."""
    grid = small_grid(8)
    grid.density.assign(np.zeros([8, 8, 8]))
    field = known_density(lambda points: tf.where(points[:, 0] > 0, 5.0, 0.0))
    for step in range(20):
        grid.refresh(field, seed=0, step=tf.constant(step))
    filled = grid.density.numpy()
    np.testing.assert_array_equal(filled[4:], 5.0)
    np.testing.assert_array_equal(filled[:4], 0.0)
    empty = known_density(lambda points: 0 * points[:, 0])
    grid.refresh(empty, seed=0, step=tf.constant(20))
    np.testing.assert_allclose(np.unique(grid.density.numpy()[4:]), [4.75, 5.0])


def test_cells_of_what_moves_are_looked_up_by_time() -> None:
    grid = DensityGrid(3, num_times=4)
    grid.box.corners.assign(BOX)
    grid.density.assign(np.arange(4 * 27).reshape(4, 3, 3, 3))
    middle = np.tile(np.float32(BOX.mean(0)), [6, 1])
    times = np.float32([0, 0.24, 0.26, 0.5, 0.99, 1])
    rays = Rays(middle, np.ones_like(middle), middle, {"time": tf.constant(times)})
    densities, _ = grid.look_along(rays, tf.zeros([6, 1]))
    np.testing.assert_array_equal(densities[:, 0], 13 + 27 * np.array([0, 0, 1, 2, 3, 3]))


class Moving(KnownField):
    """Something at x > 0 before the time 0.6, at x < 0 afterwards."""

    def __init__(self) -> None:
        super().__init__(lambda points: points[:, 0], lambda points, _: points)

    def call(self, points: tf.Tensor, conditions: dict | None = None, density_noise=None) -> tuple:
        assert conditions is not None
        side = tf.where(conditions["time"] < 0.6, points[:, 0], -points[:, 0])
        return tf.where(side > 0, 50.0, 0.0), points


class Flash(KnownField):
    """Something that is there around one moment only, and told for all cells at once."""

    def __init__(self) -> None:
        super().__init__(lambda points: points[:, 0], lambda points, _: points)

    @property
    def moments(self) -> np.ndarray:
        return np.array([0.0, 0.4, 1.0])

    def densities_on_grid(self, resolution: int, time: float | None = None) -> tf.Tensor:
        return tf.fill([resolution] * 3, 9.0 if abs(time - 0.4) < 1e-6 else 1.0)


def test_a_span_holds_what_is_there_between_its_ends() -> None:
    grid = DensityGrid(3, num_times=3)
    grid.box.corners.assign(BOX)
    grid.fill(Flash())
    np.testing.assert_array_equal(grid.density.numpy()[:, 0, 0, 0], [1, 9, 1])


def test_every_cell_of_every_span_is_asked_in_the_end() -> None:
    """Also where there are more of them than a 32-bit random number tells apart."""
    grid = DensityGrid(128, num_times=16)
    grid.box.corners.assign([[-1.0] * 3, [1.0] * 3])
    for step in range(3):
        grid.refresh(Moving(), 0, tf.constant(step))
    found = np.argwhere(grid.density.numpy() > 0)
    assert {0, 1} == set(np.unique(found[:, 3] % 2)) and len(np.unique(found[:, 0])) == 16


def test_a_grid_of_what_moves_learns_where_it_is_when() -> None:
    """Whether filled at once or refreshed bit by bit; its box holds all of it."""
    grids = [DensityGrid(8, num_times=2) for _ in range(2)]
    for grid in grids:
        grid.box.corners.assign([[-1.0] * 3, [1.0] * 3])
    grids[0].fill(Moving())
    for step in range(40):
        grids[1].refresh(Moving(), 0, tf.constant(step))
    for grid in grids:
        early, late = grid.density.numpy()
        assert early[4:].min() == 50 and early[:4].max() == 0
        assert late.min() > 5  # it fades where it is not found again
        grid.mark_occupied()
        assert grid.occupied.numpy()[0, 2].sum() == 0
        np.testing.assert_array_equal(grid.occupied_box(), [[-1] * 3, [1] * 3])
