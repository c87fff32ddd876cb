"""The field of planes and lines against sums and interpolation written out."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfnerf.fields.factors import interpolated, squared_steps
from tfnerf.fields.planes import Planes, make_field
from tfnerf.settings import Config, TrainingSettings

BOX = np.array([[-1.0, -2.0, 0.5], [1.0, 1.0, 1.5]])


def small_planes(resolution: int | tuple[int, int, int] = 5, seed: int = 0) -> Planes:
    """With values that are far from transparent."""
    field = Planes(
        resolution, density_components=(2, 1, 3), color_components=(3, 2, 1), decoder_width=8
    )
    field.place(BOX)
    generator = np.random.default_rng(seed)
    for factor in (*field.planes, *field.lines):
        factor.assign(generator.normal(0, 2, factor.shape))
    return field


def points_inside(count: int = 50, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).uniform(*BOX, [count, 3]).astype(np.float32)


def on_line(values: np.ndarray, place: float) -> np.ndarray:
    """Linear between the elements of values [R, C], place from 0 to 1."""
    index = place * (len(values) - 1)
    below = min(int(index), len(values) - 2)
    return values[below] + (index - below) * (values[below + 1] - values[below])


def on_plane(values: np.ndarray, row: float, column: float) -> np.ndarray:
    """Bilinear between the elements of values [R, R, C]."""
    return on_line(np.stack([on_line(line, column) for line in values]), row)


@pytest.mark.parametrize("resolution", [5, (6, 5, 3)])
def test_density_and_features_are_sums_of_products_of_planes_and_lines(
    resolution: int | tuple[int, int, int],
) -> None:
    """Point by point; density is a shifted softplus of the sum of its components."""
    field = small_planes(resolution)
    points = points_inside()
    density, features = field(points)
    planes = [plane.numpy() for plane in field.planes]
    lines = [line.numpy()[:, 0] for line in field.lines]
    for row, point in enumerate(points):
        x, y, z = (point - BOX[0]) / (BOX[1] - BOX[0])
        pairs = [
            on_plane(planes[0], x, y) * on_line(lines[0], z),
            on_plane(planes[1], x, z) * on_line(lines[1], y),
            on_plane(planes[2], y, z) * on_line(lines[2], x),
        ]
        np.testing.assert_allclose(features[row], np.concatenate(pairs), rtol=1e-3, atol=1e-4)
        raw = sum(pair[:split].sum() for pair, split in zip(pairs, (2, 1, 3)))
        # The longest side of the box is 3.
        np.testing.assert_allclose(density[row], 25 * np.logaddexp(0, raw - 10), rtol=1e-3)


def test_nothing_is_outside_of_the_box() -> None:
    field = small_planes()
    outside = points_inside() + np.float32([[2.1, 0, 0]])
    np.testing.assert_array_equal(field(outside)[0], 0)


def test_it_begins_transparent() -> None:
    """A ray across the whole box loses less than a thousandth of its light."""
    field = Planes(64)
    field.place(BOX)
    density, _ = field(points_inside(1000))
    assert float(tf.reduce_max(density)) * np.linalg.norm(BOX[1] - BOX[0]) < 0.01
    assert float(tf.reduce_min(density)) > 0


@pytest.mark.parametrize("resolution", [4, 7, 12])
def test_densities_on_a_grid_are_those_at_the_centres_of_its_cells(resolution: int) -> None:
    field = small_planes()
    cells = (np.indices([resolution] * 3).reshape([3, -1]).T + 0.5) / resolution
    density, _ = field(tf.constant(BOX[0] + (BOX[1] - BOX[0]) * cells, tf.float32))
    on_grid = field.densities_on_grid(resolution)
    np.testing.assert_allclose(tf.reshape(on_grid, [-1]), density, rtol=1e-3, atol=1e-4)


def test_a_finer_field_over_a_part_of_the_box_is_the_same_there() -> None:
    """Where each old node is a new one too, nothing is lost."""
    coarse, fine = small_planes(5, seed=0), small_planes(9, seed=1)
    part = np.array([BOX[0], (BOX[0] + BOX[1]) / 2])
    fine.refine(coarse, part)
    points = np.random.default_rng(2).uniform(*part, [200, 3]).astype(np.float32)
    viewdirs = np.tile(np.float32([0, 0, -1]), [200, 1])
    for one, other in zip(coarse.radiance(points, viewdirs), fine.radiance(points, viewdirs)):
        np.testing.assert_allclose(one, other, rtol=2e-3, atol=1e-4)


def test_gradients_of_a_lookup_are_what_differences_say() -> None:
    generator = np.random.default_rng(3)
    image = generator.normal(size=[4, 3, 2]).astype(np.float32)
    places = generator.uniform(size=[2, 20]).astype(np.float32)
    upstream = generator.normal(size=[20, 2]).astype(np.float32)
    with tf.GradientTape() as tape:
        watched = tf.constant(image)
        tape.watch(watched)
        values = interpolated(watched, *places)
    gradient = tape.gradient(values, watched, output_gradients=tf.constant(upstream)).numpy()
    # A lookup is linear in the image, so that a difference is exact whatever its size.
    for index in np.ndindex(*image.shape):
        moved = image.copy()
        moved[index] += 1
        change = np.sum((interpolated(moved, *places) - values) * upstream)
        np.testing.assert_allclose(gradient[index], change, rtol=1e-3, atol=1e-4)


def test_penalties_are_means_over_what_is_there() -> None:
    field = small_planes()
    factors = [factor.numpy() for factor in (*field.planes, *field.lines)]
    splits = (2, 1, 3, 2, 1, 3)
    sparsity = sum(np.abs(factor[..., :n]).mean() for factor, n in zip(factors, splits))
    np.testing.assert_allclose(field.sparsity(), sparsity, rtol=1e-5)
    roughness = sum(
        (np.diff(factor, axis=axis) ** 2).mean() for factor in factors[:3] for axis in (0, 1)
    )
    np.testing.assert_allclose(field.roughness(), roughness, rtol=1e-5)


def test_gradients_of_roughness_are_those_that_tensorflow_finds() -> None:
    image = tf.constant(np.random.default_rng(5).normal(size=[4, 7, 2]), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        ours = 3 * squared_steps(image)
        down, right = image[1:] - image[:-1], image[:, 1:] - image[:, :-1]
        plain = 3 * (tf.reduce_mean(down**2) + tf.reduce_mean(right**2))
    np.testing.assert_allclose(ours, plain, rtol=1e-6)
    np.testing.assert_allclose(
        tape.gradient(ours, image), tape.gradient(plain, image), rtol=1e-5, atol=1e-7
    )


def test_the_penalty_on_roughness_fades_with_the_learning_rate() -> None:
    settings = TrainingSettings(smoothness_weight=0.4, sparsity_weight=0.2)
    weights = {
        share: {term.name: term.weight for term in small_planes().penalties(settings, share)}
        for share in (1.0, 0.25)
    }
    assert weights[1.0] == {"sparsity": 0.2, "roughness": 0.4}
    assert weights[0.25] == {"sparsity": 0.2, "roughness": 0.1}


def test_proportions_say_how_many_cells_each_axis_has() -> None:
    config = Config().replaced(
        field="planes",
        first_plane_resolution=20,
        plane_resolution=80,
        plane_proportions="1,0.5,0.1",
        refine_steps="5,10",
    )
    sizes = [make_field(config, step, "field").resolution for step in (0, 5, 10)]
    assert sizes == [(20, 10, 2), (40, 20, 4), (80, 40, 8)]
    config = config.replaced(plane_resolution=10)  # planes never become coarser
    assert make_field(config, 0, "field").resolution == (10, 5, 2)


def test_a_field_is_made_again_from_its_configuration() -> None:
    field = small_planes()
    again = Planes.from_config(field.get_config())
    again.set_weights(field.get_weights())
    for one, other in zip(field(points_inside()), again(points_inside())):
        np.testing.assert_array_equal(one, other)


def test_every_weight_is_trained_in_one_group() -> None:
    field = small_planes()
    grouped = [id(weight) for group in field.rate_groups() for weight in group.variables]
    assert sorted(grouped) == sorted(id(weight) for weight in field.trainable_variables)


def moving_planes(num_times: int = 4) -> Planes:
    field = Planes(5, (2, 1, 3), (3, 2, 1), decoder_width=8, num_times=num_times)
    field.place(BOX)
    generator = np.random.default_rng(0)
    for factor in (*field.planes, *field.lines):
        factor.assign(generator.normal(0, 2, factor.shape))
    return field


def test_lines_of_what_moves_are_planes_of_place_and_time() -> None:
    """At each moment it is the field with the lines of then; between two of them they are mixed."""
    moving, points = moving_planes(), points_inside()
    for time in (0.0, 1 / 3, 0.5, 1.0):
        still = small_planes()
        for plane, of_moving in zip(still.planes, moving.planes):
            plane.assign(of_moving)
        for line, of_moving in zip(still.lines, moving.lines):
            columns = of_moving.numpy().transpose(1, 0, 2)
            line.assign(on_line(columns, time)[:, np.newaxis])
        then = {"time": np.full(len(points), time, np.float32)}
        for found, expected in zip(moving(points, then), still(points)):
            np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-3)


def test_what_moves_begins_without_moving() -> None:
    """And as what stands still: the same random numbers."""
    tf.keras.utils.set_random_seed(4)
    still = Planes(6)
    tf.keras.utils.set_random_seed(4)
    moving = Planes(6, num_times=5)
    for one, other in zip(moving.lines, still.lines):
        np.testing.assert_array_equal(one.numpy(), np.repeat(other.numpy(), 5, axis=1))


def test_densities_of_a_moment_on_a_grid_are_those_at_the_centres_of_its_cells() -> None:
    field = moving_planes()
    cells = (np.indices([6] * 3).reshape([3, -1]).T + 0.5) / 6
    points = (BOX[0] + cells * (BOX[1] - BOX[0])).astype(np.float32)
    for time in (0.0, 0.4, 1.0):
        expected, _ = field(points, {"time": np.full(len(points), time, np.float32)})
        found = field.densities_on_grid(6, time)
        np.testing.assert_allclose(np.ravel(found), expected, rtol=1e-3, atol=1e-3)


def test_even_motion_is_not_jerky() -> None:
    field = moving_planes(num_times=5)
    for line in field.lines:
        first, step = np.random.default_rng(2).normal(size=[2, *line.shape])
        line.assign(first[:, :1] + np.arange(5)[:, np.newaxis] * step[:, :1])
    assert float(field.jerkiness()) < 1e-9
    squares = []
    for line in field.lines:
        values = np.random.default_rng(3).normal(size=line.shape)
        line.assign(values)
        squares.append(((values[:, 2:] - 2 * values[:, 1:-1] + values[:, :-2]) ** 2).mean())
    np.testing.assert_allclose(float(field.jerkiness()), sum(squares), rtol=1e-5)
