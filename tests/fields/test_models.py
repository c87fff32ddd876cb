"""The networks: size, shape, saving, precision."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfnerf.fields.mlp import NeRF, RadianceField
from tfnerf.settings import NetworkSettings


def inputs(rng: np.random.Generator) -> tuple[tf.Tensor, tf.Tensor]:
    positions = tf.constant(rng.uniform(-2, 2, [5, 7, 3]), tf.float32)
    viewdirs = tf.math.l2_normalize(tf.constant(rng.normal(size=[5, 3]), tf.float32), -1)
    return positions, viewdirs


def test_parameter_count_of_the_paper() -> None:
    assert RadianceField().count_params() == 595_844
    assert NeRF.from_settings(NetworkSettings(), with_fine=True).count_params() == 1_191_688


@pytest.mark.parametrize("skip_layer", [0, 2, 3, 9])
@pytest.mark.parametrize("use_viewdirs", [False, True])
def test_shapes_hold_wherever_the_skip_is(
    rng: np.random.Generator, skip_layer: int, use_viewdirs: bool
) -> None:
    field = RadianceField(
        net_depth=4, net_width=8, skip_layer=skip_layer, use_viewdirs=use_viewdirs
    )
    positions, viewdirs = inputs(rng)
    assert field(positions, viewdirs).shape == (5, 7, 4)
    if not use_viewdirs:
        assert field(positions).shape == (5, 7, 4)


def test_density_does_not_depend_on_the_view_direction(rng: np.random.Generator) -> None:
    field = RadianceField(net_width=16)
    positions, viewdirs = inputs(rng)
    one, other = field(positions, viewdirs), field(positions, -viewdirs)
    np.testing.assert_array_equal(one[..., 3], other[..., 3])
    assert np.abs(one[..., :3] - other[..., :3]).max() > 1e-4


def test_each_sample_sees_its_own_position_and_ray(rng: np.random.Generator) -> None:
    """All at once equals one sample at a time."""
    field = RadianceField(net_depth=3, net_width=16, skip_layer=1)
    positions, viewdirs = inputs(rng)
    together = field(positions, viewdirs).numpy()
    for ray in range(5):
        for sample in range(7):
            alone = field(positions[ray : ray + 1, sample : sample + 1], viewdirs[ray : ray + 1])
            np.testing.assert_allclose(together[ray, sample], alone[0, 0], atol=1e-5)


@pytest.mark.parametrize("with_fine", [False, True])
def test_saved_and_loaded_model_is_the_same(
    rng: np.random.Generator, tmp_path: Path, with_fine: bool
) -> None:
    settings = NetworkSettings(net_depth=3, net_width=8, skip_layer=1, bottleneck_width=12)
    nerf = NeRF.from_settings(settings, with_fine=with_fine)
    path = tmp_path / "nerf.keras"
    nerf.save(path)
    loaded = keras.models.load_model(path)
    assert isinstance(loaded, NeRF)
    assert loaded.get_config() == nerf.get_config()
    assert (loaded.fine is not None) == with_fine
    positions, viewdirs = inputs(rng)
    for field, other in ((nerf.coarse, loaded.coarse), (nerf.finest, loaded.finest)):
        np.testing.assert_array_equal(field(positions, viewdirs), other(positions, viewdirs))


def test_mixed_precision_encodes_and_answers_in_float32() -> None:
    field = RadianceField(net_width=16, mixed_precision=True)
    assert field.trunk[0].compute_dtype == "bfloat16"
    assert {weight.dtype for weight in field.weights} == {"float32"}
    # These positions are one number in bfloat16.
    positions = tf.constant([[[1.2345678] * 3, [1.234375] * 3]])
    raw = field(positions, tf.constant([[0.0, 0.0, 1.0]]))
    assert raw.dtype == tf.float32
    assert np.abs(raw[0, 0] - raw[0, 1]).max() > 0
