"""The positional encoding."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from tfnerf.fields.encoding import encoding_width, positional_encoding


@pytest.mark.parametrize("num_frequencies", [0, 1, 4, 10])
def test_encoding_of_a_known_point(num_frequencies: int) -> None:
    """The closed form, number by number, in double precision."""
    point = np.array([0.3, -1.7, 0.0])
    expected = list(point)
    for octave in range(num_frequencies):
        expected += [np.sin(2.0**octave * x) for x in point]
        expected += [np.cos(2.0**octave * x) for x in point]
    encoded = positional_encoding(tf.constant(point, tf.float32), num_frequencies)
    assert encoded.shape == (encoding_width(3, num_frequencies),)
    # A coordinate in 32 bits is off by 6e-8, and the highest frequency multiplies that by 512.
    np.testing.assert_allclose(encoded, expected, atol=7e-5)


def test_encoding_keeps_leading_dimensions(rng: np.random.Generator) -> None:
    points = rng.normal(size=[4, 5, 3]).astype(np.float32)
    encoded = positional_encoding(points, 6).numpy()
    assert encoded.shape == (4, 5, encoding_width(3, 6))
    np.testing.assert_allclose(encoded[2, 3], positional_encoding(points[2, 3], 6), atol=1e-6)


def test_tensorflow_graphics_agrees(rng: np.random.Generator) -> None:
    """A second opinion, to the last bit."""
    from tensorflow_graphics.math import feature_representation

    points = tf.constant(rng.normal(size=[100, 3]), tf.float32)
    np.testing.assert_array_equal(
        positional_encoding(points, 10), feature_representation.positional_encoding(points, 10)
    )
