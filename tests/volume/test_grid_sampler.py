"""The sampler of a density grid: where it looks, and what is left out."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from known_fields import KnownField

from tfnerf.fields.density_grid import DensityGrid
from tfnerf.fields.model import NeRF
from tfnerf.geometry.cameras import Rays
from tfnerf.random_numbers import BatchRows
from tfnerf.volume.samplers.grid import Grid
from tfnerf.volume.samples import Draws
from tfnerf.volume.sampling import equal_shares
from tfnerf.volume.scene_renderer import SceneRenderer

RESOLUTION = 32
RADIUS = 0.6


def ball(density: float = 200.0) -> NeRF:
    """In a box from -1 to 1, with a grid that knows it."""

    def at(points: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.norm(points, axis=-1) < RADIUS, density, 0.0)

    grid = DensityGrid(RESOLUTION)
    grid.box.corners.assign([[-1.0] * 3, [1.0] * 3])
    centers = (np.indices([RESOLUTION] * 3).reshape([3, -1]).T + 0.5) / RESOLUTION * 2 - 1
    grid.density.assign(tf.reshape(at(tf.constant(centers, tf.float32)), [RESOLUTION] * 3))
    grid.mark_occupied()
    field = KnownField(at, lambda points, viewdirs: 0.5 + 0.5 * points)
    return NeRF(field, grid=grid)


def sampler_of(model: NeRF, **changes: float) -> Grid:
    sampler = Grid(model.grid, 0.0, 9.0, num_probes=96, num_samples=16, even_share=0.2)
    return dataclasses.replace(sampler, **changes)


def rays_at(heights: np.ndarray) -> Rays:
    """Along x from -3, at these heights above the middle of the box."""
    zeros = np.zeros_like(heights)
    origins = np.stack([zeros - 3, zeros, heights], -1).astype(np.float32)
    directions = np.tile(np.float32([1, 0, 0]), [len(heights), 1])
    return Rays(*(tf.constant(values) for values in (origins, directions, directions)))


def draws_of(num_rays: int, sampler: Grid) -> Draws:
    return sampler.draw(BatchRows(0, tf.constant(3), num_rays, tf.constant(0), num_rays))


@pytest.mark.parametrize("lindisp", [False, True])
def test_drawn_samples_lie_in_intervals_that_fill_the_box(lindisp: bool) -> None:
    sampler = sampler_of(ball(), near=0.5, lindisp=lindisp)
    samples = sampler(rays_at(np.linspace(-0.5, 0.5, 40)), draws_of(40, sampler))
    depths, intervals = samples.depths.numpy(), samples.intervals.numpy()
    assert depths.shape == intervals.shape == (40, 16)
    ends = 2 + np.cumsum(intervals, -1)
    np.testing.assert_allclose(ends[:, -1], 4, rtol=1e-5)
    assert (depths <= ends + 1e-5).all() and (depths >= ends - intervals - 1e-5).all()


def test_samples_of_a_picture_stand_for_what_is_occupied() -> None:
    """All of it and nothing else, or a sample would stand for the gap in front of it."""
    model = ball()
    middle = RESOLUTION // 2
    gap = np.array(model.grid.occupied)
    gap[middle - 2 : middle + 2] = False
    model.grid.occupied.assign(gap)
    sampler = sampler_of(model, num_probes=RESOLUTION)
    samples = sampler(rays_at(np.array([0.01])), Draws())
    # Along x through the middle each probe lies in a cell of its own.
    length = gap[:, middle, middle].sum() * 2 / RESOLUTION
    np.testing.assert_allclose(tf.reduce_sum(samples.intervals), length, rtol=1e-5)
    assert (np.diff(samples.depths) > 0).all()


def test_half_of_what_is_even_in_disparity_is_even_in_depth() -> None:
    sampler = sampler_of(thin_pole(), near=0.5, lindisp=True, even_share=1.0)
    rays = rays_at(np.array([0.01]))
    depths = sampler(rays, Draws()).depths.numpy()[0]
    shares = ((depths - 2) / 2 + (1 / 2 - 1 / depths) / (1 / 2 - 1 / 4)) / 2
    np.testing.assert_allclose(shares, (np.arange(16) + 0.5) / 16, atol=1e-3)


def test_most_samples_lie_where_the_light_stops() -> None:
    """Two cells around the surface, all but the even share."""
    sampler = sampler_of(ball())
    heights = np.linspace(-0.3, 0.3, 20)
    depths = sampler(rays_at(heights), Draws()).depths.numpy()
    surface = 3 - np.sqrt(RADIUS**2 - heights**2)
    near = np.abs(depths - surface[:, np.newaxis]) < 2 * 2 / RESOLUTION
    assert near.mean() > 0.7


def test_the_even_share_is_spread_over_what_is_occupied_and_lit() -> None:
    rays = rays_at(np.array([0.01]))
    fog = sampler_of(ball(density=0.1), even_share=1.0)(rays, Draws()).depths.numpy()[0]
    steps = np.diff(fog)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-3)
    assert abs(fog[0] - steps[0] / 2 - (3 - RADIUS)) < 2 * 2 / RESOLUTION
    assert abs(fog[-1] + steps[0] / 2 - (3 + RADIUS)) < 2 * 2 / RESOLUTION
    solid = sampler_of(ball(), even_share=1.0)(rays, Draws()).depths.numpy()
    assert (np.abs(solid - (3 - RADIUS)) < 3 * 2 / RESOLUTION).all()


def test_a_little_is_drawn_everywhere_while_training() -> None:
    """Or what the grid wrongly calls empty would stay so."""
    sampler = sampler_of(ball())
    rays = rays_at(np.full([2000], 0.01))
    depths = sampler(rays, draws_of(2000, sampler)).depths.numpy()
    counts, _ = np.histogram(depths, bins=10, range=(2, 4))
    assert counts.min() > 0.02 * depths.size / 10
    elsewhere = (depths < 3 - RADIUS - 0.2) | (depths > 3)
    assert elsewhere.mean() < 0.1


def test_a_ray_that_the_grid_says_nothing_of_is_sampled_evenly() -> None:
    depths = sampler_of(ball())(rays_at(np.array([0.97])), Draws()).depths
    np.testing.assert_allclose(np.diff(depths, axis=-1), 2 / 16, rtol=1e-3)


def test_rays_are_live_that_pass_an_occupied_cell() -> None:
    sampler = sampler_of(ball())
    heights = np.linspace(-1.5, 1.5, 301)
    live = sampler.live(rays_at(heights)).numpy()
    assert live[np.abs(heights) < RADIUS].all()
    assert not live[np.abs(heights) > RADIUS + 2 * 2 / RESOLUTION].any()


@pytest.mark.parametrize("lindisp", [False, True])
def test_walls_are_seen_however_far_they_are(lindisp: bool) -> None:
    """From the middle of a box whose cells are all alike, so that near by steps may be small."""
    grid = DensityGrid(64)
    grid.box.corners.assign([[-12.0] * 3, [12.0] * 3])
    sampler = Grid(grid, 0.2, 12.0, num_probes=64, num_samples=16, even_share=0.6, lindisp=lindisp)
    directions = np.stack([np.ones(50), np.linspace(-0.9, 0.9, 50), np.full(50, 0.1)], -1)
    tensors = np.full([50, 3], 0.01), directions, directions
    rays = Rays(*(tf.constant(values, tf.float32) for values in tensors))
    for cell in range(33, 64):
        density = np.zeros([64] * 3)
        density[cell] = 200
        grid.density.assign(density)
        grid.mark_occupied()
        assert sampler.live(rays).numpy().all(), cell
        seen = tf.reduce_sum(sampler(rays, Draws()).intervals, -1).numpy()
        assert (seen > 0.5 * 24 / 64).all(), (cell, seen.min())


@pytest.mark.parametrize("white_background", [False, True])
def test_rays_that_meet_nothing_show_the_background_and_change_no_other(
    white_background: bool,
) -> None:
    model = ball()
    renderer = SceneRenderer(model, sampler_of(model), None, white_background, True)
    heights = np.linspace(-1.2, 1.2, 49)
    together = renderer.render(rays_at(heights))
    assert 0 < int(together.num_live) < 49
    for index, height in enumerate(heights):
        alone = renderer.render(rays_at(np.array([height])))
        for one, other in zip(together.final, alone.final):
            np.testing.assert_allclose(one[index], other[0], atol=1e-6)
    background = np.full([49, 3], float(white_background))
    missed = np.abs(heights) > 0.8
    np.testing.assert_array_equal(together.final.rgb.numpy()[missed], background[missed])


def test_a_ball_is_where_it_is() -> None:
    model = ball()
    renderer = SceneRenderer(model, sampler_of(model, even_share=0.05), None, False, True)
    heights = np.linspace(-0.4, 0.4, 17)
    seen = renderer.render(rays_at(heights)).final
    np.testing.assert_allclose(seen.opacity, 1, atol=1e-3)
    error = np.abs(seen.depth - (3 - np.sqrt(RADIUS**2 - heights**2)))
    # A cell is 0.06 wide, and where in it the surface is the grid does not know.
    assert error.max() < 0.12 and error.mean() < 0.03


def thin_pole() -> NeRF:
    """Along y, two thirds of a cell wide, behind a grid that has to find it by asking."""

    def at(points: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.norm(points[:, ::2], axis=-1) < 0.02, 400.0, 0.0)

    grid = DensityGrid(RESOLUTION)
    grid.box.corners.assign([[-1.0] * 3, [1.0] * 3])
    grid.occupied.assign(tf.zeros_like(grid.occupied))
    return NeRF(KnownField(at, lambda points, viewdirs: 1 + 0 * points), grid=grid)


def test_a_thin_pole_in_cells_once_empty_is_found_and_seen() -> None:
    model = thin_pole()
    sampler = sampler_of(model, even_share=0.6)
    heights = np.linspace(-0.04, 0.04, 81)
    assert not sampler.live(rays_at(heights)).numpy().any()
    for step in range(16):
        model.grid.refresh(model.final, seed=0, step=tf.constant(step))
    model.grid.mark_occupied()
    renderer = SceneRenderer(model, sampler, None, False, True)
    seen = renderer.render(rays_at(heights)).final.opacity.numpy()
    chord = 2 * np.sqrt(np.maximum(0.02**2 - heights**2, 0))
    exact = 1 - np.exp(-400 * chord)
    assert np.minimum(seen, exact).sum() > 0.98 * exact.sum()


def test_no_ray_at_all_is_an_empty_picture() -> None:
    model = ball()
    renderer = SceneRenderer(model, sampler_of(model), None, True, True)
    assert renderer.render(rays_at(np.zeros([0]))).final.rgb.shape == (0, 3)
    missing = renderer.render(rays_at(np.array([2.0, 3.0]))).final
    np.testing.assert_array_equal(missing.rgb, 1)


def test_shares_are_equal_as_in_a_slow_loop() -> None:
    generator = np.random.default_rng(0)
    weights = generator.uniform(0.01, 1, [9, 12]) ** 3 + 1e-4
    borders = equal_shares(tf.constant(weights, tf.float32), 7).numpy()
    np.testing.assert_array_equal(equal_shares(tf.constant(weights, tf.float32), 1), [[0, 1]] * 9)
    for row, found in zip(weights, borders):
        cdf = np.concatenate([[0], np.cumsum(row / row.sum())])
        expected = np.interp(np.arange(8) / 7, cdf, np.arange(13) / 12)
        np.testing.assert_allclose(found, expected, atol=2e-5)


def test_only_pictures_do_without_colours_that_do_not_show() -> None:
    sampler, rays = sampler_of(ball()), rays_at(np.linspace(-0.5, 0.5, 4))
    assert sampler(rays, Draws()).faint is not None
    assert sampler(rays, draws_of(4, sampler)).faint is None
    # Training without jitter looks like a picture.
    assert sampler_of(ball(), jitter=False)(rays, Draws()).faint is None


def test_rays_through_next_to_nothing_get_a_third_of_the_samples() -> None:
    """Which stand for all of what is occupied there."""
    rays = rays_at(np.linspace(-0.5, 0.5, 4))
    for density, share in ((200.0, 1.0), (0.005, 6 / 16)):
        spared, whole = (
            sampler_of(ball(density), jitter=on)(rays, Draws()) for on in (True, False)
        )
        assert whole.live is None and spared.live is not None
        live = tf.cast(spared.live, tf.float32)
        np.testing.assert_allclose(tf.reduce_mean(live, -1), [share] * 4)
        np.testing.assert_allclose(
            tf.reduce_sum(live * spared.intervals, -1),
            tf.reduce_sum(whole.intervals, -1),
            rtol=1e-5,
        )
        np.testing.assert_array_equal(spared.depths, whole.depths)
