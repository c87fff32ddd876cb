"""Light and appearance: what colours depend on and densities do not, in both kinds of field."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.fields.color_inputs import ColorInputs
from tfnerf.fields.field import Field
from tfnerf.fields.mlp import RadianceField
from tfnerf.fields.model import make_model
from tfnerf.fields.planes import Planes
from tfnerf.settings import Config


def planes(**inputs: object) -> Planes:
    field = Planes(8, (2, 2, 2), (3, 3, 3), decoder_width=8, color_inputs=ColorInputs(**inputs))
    field.place(np.array([[-2.0] * 3, [2.0] * 3]))
    return field


def network(**inputs: object) -> RadianceField:
    return RadianceField(
        net_depth=2, net_width=16, skip_layer=0, color_inputs=ColorInputs(**inputs)
    )


def some_vectors(rng: np.random.Generator, width: int = 3) -> tf.Tensor:
    return tf.constant(rng.normal(size=[40, width]), tf.float32)


@pytest.mark.parametrize("make", [network, planes])
@pytest.mark.parametrize(
    ("inputs", "name", "width"),
    [({"relightable": True}, "light", 3), ({"appearance_width": 2}, "appearance", 2)],
)
def test_colours_depend_on_them_and_densities_do_not(
    rng: np.random.Generator, make: type[Field], inputs: dict, name: str, width: int
) -> None:
    field = make(**inputs)
    points, viewdirs = some_vectors(rng), tf.math.l2_normalize(some_vectors(rng), -1)
    one, other = (
        field.radiance(points, viewdirs, {name: some_vectors(rng, width)}) for _ in range(2)
    )
    np.testing.assert_array_equal(one.density, other.density)
    assert np.abs(one.rgb - other.rgb).max() > 1e-4


def test_only_the_direction_of_a_light_counts(rng: np.random.Generator) -> None:
    inputs = ColorInputs(relightable=True)
    viewdirs, light = some_vectors(rng), some_vectors(rng)
    near, far = (inputs(viewdirs, {"light": factor * light}) for factor in (1.0, 7.0))
    np.testing.assert_allclose(near, far, atol=2e-5)
    assert near.shape[-1] == inputs.width == 54


def test_highlights_are_around_the_direction_halfway_between_light_and_camera() -> None:
    """A mirror that lies flat reflects a light at 45 degrees to a camera at 45 degrees."""
    inputs = ColorInputs(0, relightable=True, highlights=True)
    down_along_x = tf.constant([[0.5**0.5, 0.0, -(0.5**0.5)]])
    known = inputs(down_along_x, {"light": tf.constant([[3.0, 0.0, 3.0]])})
    assert known.shape[-1] == inputs.width == 9
    np.testing.assert_allclose(known[:, 6:], [[0, 0, 1]], atol=1e-6)


def test_highlights_need_a_light_and_a_view_direction() -> None:
    with pytest.raises(UserError, match="--highlights: needs --relightable"):
        Config().replaced(highlights=True)
    with pytest.raises(UserError, match="--highlights: needs --use_viewdirs"):
        Config().replaced(field="planes", highlights=True, relightable=True, use_viewdirs=False)


def test_a_network_without_a_branch_for_colours_cannot_have_them() -> None:
    with pytest.raises(UserError, match="--relightable: --field=mlp has a branch for colours with"):
        Config().replaced(relightable=True, use_viewdirs=False)
    with pytest.raises(UserError, match="--appearance_width: --field=mlp has a branch"):
        Config().replaced(appearance_width=2, use_viewdirs=False)


@pytest.mark.parametrize("make", [network, planes])
def test_a_field_without_them_has_the_weights_that_it_always_had(make: type[Field]) -> None:
    """So that checkpoints of earlier versions can be read."""
    plain = make()
    for inputs in ({"relightable": True}, {"appearance_width": 2}):
        assert make(**inputs).count_params() > plain.count_params()
    for inputs in ({"relightable": False}, {"appearance_width": 0}):
        shapes = [weight.shape for weight in make(**inputs).weights]
        assert shapes == [weight.shape for weight in plain.weights]


@pytest.mark.parametrize("make", [network, planes])
def test_configurations_of_earlier_versions_are_read(make: type[Field]) -> None:
    field = make(direction_frequencies=3, appearance_width=2)
    config = field.get_config()
    before = {**config, **config.pop("color_inputs")}
    again = type(field).from_config(before)
    assert again.get_config() == field.get_config()


def test_codes_are_of_images_and_learn_in_a_group_of_their_own() -> None:
    config = Config().replaced(field="planes", plane_resolution=8, appearance_width=3)
    model = make_model(config, num_images=5)
    assert model.codes is not None and model.codes.rows.shape == (5, 3)
    np.testing.assert_array_equal(
        model.codes(tf.constant([4, 0])), model.codes.rows.numpy()[[4, 0]]
    )
    (group,) = [g for g in model.rate_groups() if any(v is model.codes.rows for v in g.variables)]
    assert len(group.variables) == 1
    assert make_model(config).codes is None  # what only answers needs none
