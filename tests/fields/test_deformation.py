"""Networks in a scene that moves: the offsets, and what they leave alone."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnerf.fields.deformation import Deformation
from tfnerf.fields.mlp import RadianceField
from tfnerf.fields.model import NeRF, make_model
from tfnerf.settings import Config

D_NERF = {
    "deformation_depth": 8,
    "deformation_width": 256,
    "deformation_skip": 4,
    "deformation_frequencies": 10,
    "zero_canonical": True,
}
MIXED_TIMES = np.float32([0, 0.3, 0, 1, 0.5])


def some_points(rng: np.random.Generator, count: int = 5) -> tf.Tensor:
    return tf.constant(rng.uniform(-2, 2, [count, 3]), tf.float32)


def wild(deformation: Deformation, rng: np.random.Generator) -> Deformation:
    """With weights that move points far."""
    for variable in deformation.trainable_variables:
        variable.assign(rng.normal(0, 0.4, variable.shape))
    return deformation


def test_parameter_count_of_d_nerf() -> None:
    config = Config().replaced(time_model="deform", **D_NERF)
    assert make_model(config).coarse.count_params() == 1_095_047


@pytest.mark.parametrize("shape", [{}, {"depth": 8, "width": 256, "skip_layer": 4}])
def test_at_first_nothing_moves(rng: np.random.Generator, shape: dict[str, int]) -> None:
    keras.utils.set_random_seed(0)
    offsets = Deformation(frequencies=10 if shape else 4, **shape)(
        some_points(rng, 1000), tf.constant(rng.uniform(size=1000), tf.float32)
    )
    assert np.abs(offsets).max() < 1e-3


def test_offsets_are_those_of_the_network_written_out(rng: np.random.Generator) -> None:
    """In NumPy, point by point: encodings, layers, the position again after the one of the skip."""
    deformation = wild(Deformation(depth=4, width=6, skip_layer=1, frequencies=2), rng)
    points, times = some_points(rng).numpy(), MIXED_TIMES
    weights = [weight.numpy().astype(float) for weight in deformation.trainable_variables]

    def encoded(values: np.ndarray) -> np.ndarray:
        return np.concatenate(
            [values, np.sin(values), np.cos(values), np.sin(2 * values), np.cos(2 * values)]
        )

    for point, time, offset in zip(points, times, deformation(points, times).numpy()):
        position = encoded(point)
        hidden = np.concatenate([position, encoded(np.array([time]))])
        for layer in range(4):
            hidden = np.maximum(hidden @ weights[2 * layer] + weights[2 * layer + 1], 0)
            if layer == 1:
                hidden = np.concatenate([position, hidden])
        np.testing.assert_allclose(offset, hidden @ weights[8] + weights[9], rtol=1e-4, atol=1e-5)


def test_the_gradient_is_that_of_finite_differences(rng: np.random.Generator) -> None:
    field = RadianceField(
        2, 8, 0, position_frequencies=1, deformation=wild(Deformation(2, 4, 0, 1), rng)
    )
    points, times = some_points(rng), tf.constant(MIXED_TIMES)

    def loss() -> tf.Tensor:
        return tf.reduce_sum(field(points, {"time": times})[1] ** 2)

    kernel = field.deformation.offset.kernel
    with tf.GradientTape() as tape:
        value = loss()
    gradient = tape.gradient(value, kernel.value).numpy()
    before = kernel.numpy()
    for entry in ((0, 0), (3, 1), (2, 2)):
        sides = []
        for step in (1e-3, -1e-3):
            moved = before.copy()
            moved[entry] += step
            kernel.assign(moved)
            sides.append(float(loss()))
        kernel.assign(before)
        np.testing.assert_allclose((sides[0] - sides[1]) / 2e-3, gradient[entry], rtol=0.02)


def test_with_zero_canonical_nothing_moves_at_time_zero(rng: np.random.Generator) -> None:
    """Exactly, in a batch with other times too."""
    offsets = wild(Deformation(zero_canonical=True), rng)(some_points(rng), MIXED_TIMES).numpy()
    np.testing.assert_array_equal(offsets[MIXED_TIMES == 0], 0)
    assert (np.abs(offsets[MIXED_TIMES > 0]).max(-1) > 0.01).all()


def test_at_time_zero_it_is_the_network_of_a_scene_that_stands_still(
    rng: np.random.Generator,
) -> None:
    still = RadianceField(net_depth=3, net_width=16, skip_layer=1)
    moving = RadianceField(
        net_depth=3,
        net_width=16,
        skip_layer=1,
        deformation=wild(Deformation(zero_canonical=True), rng),
    )
    num_shared = len(still.weights)
    moving.set_weights([*still.get_weights(), *moving.get_weights()[num_shared:]])
    points = some_points(rng)
    at_zero = {"time": tf.zeros(5)}
    np.testing.assert_array_equal(still(points)[0], moving(points, at_zero)[0])
    assert not np.array_equal(still(points)[1], moving(points, {"time": tf.ones(5)})[1])


def test_networks_are_made_again_from_their_configuration(rng: np.random.Generator) -> None:
    config = Config().replaced(
        time_model="deform", net_depth=2, net_width=8, relightable=True, appearance_width=3
    )
    model = make_model(config, num_images=4)
    again = NeRF.from_config(model.get_config())
    again.set_weights(model.get_weights())
    points, dirs = some_points(rng), tf.math.l2_normalize(some_points(rng), -1)
    conditions = {
        "time": tf.constant(MIXED_TIMES),
        "light": some_points(rng),
        "appearance": tf.constant(rng.normal(size=[5, 3]), tf.float32),
    }
    for one, other in zip(
        model.final.radiance(points, dirs, conditions),
        again.final.radiance(points, dirs, conditions),
    ):
        np.testing.assert_array_equal(one, other)
