"""The networks: size, shape, saving, precision."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import small_model

from tfnerf.fields.color_inputs import ColorInputs
from tfnerf.fields.mlp import RadianceField
from tfnerf.fields.model import NeRF, make_model
from tfnerf.settings import Config


def inputs(rng: np.random.Generator, count: int = 35) -> tuple[tf.Tensor, tf.Tensor]:
    points = tf.constant(rng.uniform(-2, 2, [count, 3]), tf.float32)
    viewdirs = tf.math.l2_normalize(tf.constant(rng.normal(size=[count, 3]), tf.float32), -1)
    return points, viewdirs


def test_parameter_count_of_the_paper() -> None:
    assert RadianceField().count_params() == 595_844
    assert make_model(Config()).count_params() == 1_191_688
    assert make_model(Config().replaced(num_fine_samples=0)).count_params() == 595_844


@pytest.mark.parametrize("skip_layer", [0, 2, 3, 9])
@pytest.mark.parametrize("use_viewdirs", [False, True])
def test_shapes_hold_wherever_the_skip_is(
    rng: np.random.Generator, skip_layer: int, use_viewdirs: bool
) -> None:
    field = RadianceField(
        net_depth=4,
        net_width=8,
        skip_layer=skip_layer,
        color_inputs=ColorInputs(use_viewdirs=use_viewdirs),
    )
    points, viewdirs = inputs(rng)
    rgb, density = field.radiance(points, viewdirs)
    assert rgb.shape == (35, 3) and density.shape == (35,)
    assert field.raw(points, viewdirs).shape == (35, 4)


def test_colours_and_densities_are_activated(rng: np.random.Generator) -> None:
    """A sigmoid and a ReLU of what the original's networks return, noise before the ReLU."""
    field = RadianceField(net_width=16)
    points, viewdirs = inputs(rng)
    raw = field.raw(points, viewdirs).numpy()
    rgb, density = field.radiance(points, viewdirs)
    np.testing.assert_allclose(rgb, 1 / (1 + np.exp(-raw[:, :3])), atol=1e-6)
    np.testing.assert_allclose(density, np.maximum(raw[:, 3], 0), atol=1e-6)
    noise = rng.normal(size=35).astype(np.float32)
    density, _ = field(points, density_noise=noise)
    np.testing.assert_allclose(density, np.maximum(raw[:, 3] + noise, 0), atol=1e-6)


def test_density_does_not_depend_on_the_view_direction(rng: np.random.Generator) -> None:
    field = RadianceField(net_width=16)
    points, viewdirs = inputs(rng)
    one, other = field.radiance(points, viewdirs), field.radiance(points, -viewdirs)
    np.testing.assert_array_equal(one.density, other.density)
    assert np.abs(one.rgb - other.rgb).max() > 1e-5


def test_each_point_is_seen_alone(rng: np.random.Generator) -> None:
    """All at once equals one point at a time."""
    field = RadianceField(net_depth=3, net_width=16, skip_layer=1)
    points, viewdirs = inputs(rng)
    together = field.radiance(points, viewdirs)
    for index in range(35):
        row = slice(index, index + 1)
        alone = field.radiance(points[row], viewdirs[row])
        np.testing.assert_allclose(together.rgb[index], alone.rgb[0], atol=1e-5)
        np.testing.assert_allclose(together.density[index], alone.density[0], atol=1e-5)


@pytest.mark.parametrize("num_fine_samples", [0, 8])
def test_saved_and_loaded_model_is_the_same(
    rng: np.random.Generator, tmp_path: Path, num_fine_samples: int
) -> None:
    nerf = small_model(num_fine_samples=num_fine_samples, bottleneck_width=12)
    path = tmp_path / "nerf.keras"
    nerf.save(path)
    loaded = keras.models.load_model(path)
    assert isinstance(loaded, NeRF)
    assert loaded.get_config() == nerf.get_config()
    assert (loaded.fine is not None) == (num_fine_samples > 0)
    arguments = inputs(rng)
    for field, other in ((nerf.coarse, loaded.coarse), (nerf.final, loaded.final)):
        for one, same in zip(field.radiance(*arguments), other.radiance(*arguments)):
            np.testing.assert_array_equal(one, same)


def test_mixed_precision_encodes_and_answers_in_float32() -> None:
    field = RadianceField(net_width=16, mixed_precision=True)
    assert field.trunk[0].compute_dtype == "bfloat16"
    assert {weight.dtype for weight in field.weights} == {"float32"}
    # These points are one number in bfloat16.
    points = tf.constant([[1.2345678] * 3, [1.234375] * 3])
    raw = field.raw(points, tf.constant([[0.0, 0.0, 1.0]] * 2))
    assert raw.dtype == tf.float32
    assert np.abs(raw[0] - raw[1]).max() > 0
    assert {part.dtype for part in field.radiance(points, points)} == {tf.float32}


def test_all_weights_of_the_paper_are_one_group() -> None:
    model = small_model()
    (group,) = model.rate_groups()
    assert [id(v) for v in group.variables] == [id(v) for v in model.trainable_variables]
    assert tuple(group[1:]) == (1.0, 0.9, 0.999)
