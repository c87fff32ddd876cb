"""The quadrature, against closed forms, a slow loop and TensorFlow Graphics."""

from __future__ import annotations

import math

import numpy as np
import pytest
import tensorflow as tf

from tfnerf.volume.compositing import composite, distortion, sample_effects, sample_weights


def random_ray_bundle(rng: np.random.Generator, num_rays: int = 16, num_samples: int = 12) -> tuple:
    colors = rng.random([num_rays, num_samples, 3])
    densities = rng.exponential(2, [num_rays, num_samples]) * (rng.random() > 0.3)
    depths = np.sort(rng.uniform(2, 6, [num_rays, num_samples]), -1)
    lengths = np.diff(depths, append=1e10) * rng.uniform(1, 2, [num_rays, 1])
    return tuple(np.float32(array) for array in (colors, densities, depths, lengths))


def test_constant_density_fades_exponentially() -> None:
    """Through a fog of density s the opacity of a depth d is 1 - exp(-s d)."""
    density, num_samples = 0.7, 50
    depths = np.linspace(0, 5, num_samples, dtype=np.float32)[None]
    densities = np.full([1, num_samples], density, np.float32)
    lengths = np.float32(2 * np.diff(depths, append=1e10))
    weights = sample_weights(densities, lengths).numpy()[0]
    seen = np.cumsum(weights)[:-1]
    np.testing.assert_allclose(seen, 1 - np.exp(-density * 2 * depths[0, 1:]), rtol=1e-5)
    assert math.isclose(weights.sum(), 1, rel_tol=1e-6)


def test_hand_computed_weights() -> None:
    """Alphas 0.3, 0.8, 1 let through 1, 0.7, 0.14."""
    densities = -np.log(1 - np.float32([[0.3, 0.8, 0.5]]))
    weights = sample_weights(densities, np.float32([[1, 1, 1e10]]))
    np.testing.assert_allclose(weights, [[0.3, 0.56, 0.14]], rtol=1e-5)


def test_composite_equals_a_slow_loop(rng: np.random.Generator) -> None:
    colors, densities, depths, lengths = random_ray_bundle(rng)
    seen = composite(colors, densities, depths, lengths).on_white()
    for ray in range(len(depths)):
        light, rgb, depth, opacity = 1.0, np.zeros(3), 0.0, 0.0
        for sample in range(depths.shape[1]):
            alpha = 1 - math.exp(-densities[ray, sample] * lengths[ray, sample])
            rgb += light * alpha * colors[ray, sample]
            depth += light * alpha * depths[ray, sample]
            opacity += light * alpha
            light *= 1 - alpha
        np.testing.assert_allclose(seen.rgb[ray], rgb + 1 - opacity, atol=1e-5)
        np.testing.assert_allclose(seen.depth[ray], depth, atol=1e-4)
        np.testing.assert_allclose(seen.opacity[ray], opacity, atol=1e-5)


@pytest.mark.parametrize("background", [0.0, 1.0])
def test_the_effect_of_a_sample_is_what_its_absence_changes(
    rng: np.random.Generator, background: float
) -> None:
    """Each is taken away in turn, and the ray composited again."""
    colors, densities, depths, lengths = random_ray_bundle(rng, 6, 7)
    densities[2] *= 100  # opaque from the first on
    lengths[:, -1] = 1

    def pixel(densities: np.ndarray) -> np.ndarray:
        seen = composite(colors, densities, depths, lengths)
        return seen.rgb.numpy() + background * (1 - seen.opacity.numpy()[:, None])

    effects = sample_effects(colors, sample_weights(densities, lengths), background).numpy()
    for sample in range(depths.shape[1]):
        without = densities.copy()
        without[:, sample] = 0
        changed = np.abs(pixel(without) - pixel(densities)).max(-1)
        see_through = np.exp(-(densities * lengths).sum(-1)) > 1e-3
        np.testing.assert_allclose(effects[see_through, sample], changed[see_through], atol=1e-4)
        # What is behind an opaque sample cannot be told from weights: no effect is too small.
        assert (effects[:, sample] >= changed - 0.02).all()


def test_weights_are_shares_of_one(rng: np.random.Generator) -> None:
    for _ in range(5):
        _, densities, _, lengths = random_ray_bundle(rng)
        weights = sample_weights(densities, lengths).numpy()
        assert weights.min() >= 0
        assert weights.sum(-1).max() <= 1 + 1e-6


def test_scaling_the_scene_changes_no_colour(rng: np.random.Generator) -> None:
    """Depths k times as large with densities k times as small look the same."""
    colors, densities, depths, lengths = random_ray_bundle(rng)
    one = composite(colors, densities, depths, lengths)
    other = composite(colors, densities / 8, depths * 8, lengths * 8)
    np.testing.assert_allclose(one.rgb, other.rgb, atol=1e-5)
    np.testing.assert_allclose(one.depth * 8, other.depth, rtol=1e-4)


def test_an_empty_ray_shows_the_background_at_no_disparity() -> None:
    empty = [np.ones([1, 4, 3]), np.zeros([1, 4]), np.arange(1, 5)[None], np.ones([1, 4])]
    black = composite(*(np.float32(array) for array in empty))
    for white, seen in ((False, black), (True, black.on_white())):
        np.testing.assert_array_equal(seen.rgb, np.full([1, 3], float(white)))
        assert seen.disparity.numpy() == seen.opacity.numpy() == seen.depth.numpy() == 0


@pytest.mark.parametrize("density", [0.0, 1e-9, 1e3, 1e5])
def test_gradients_are_finite_however_dense(density: float) -> None:
    densities = tf.Variable(tf.fill([1, 6], np.float32(density)))
    depths = tf.reshape(tf.linspace(2.0, 6.0, 6), [1, 6])
    with tf.GradientTape() as tape:
        lengths = tf.constant([[0.8] * 5 + [1e10]])
        seen = composite(tf.ones([1, 6, 3]), densities, depths, lengths).on_white()
        total = tf.reduce_sum(seen.rgb) + tf.reduce_sum(seen.disparity)
    assert np.isfinite(tape.gradient(total, densities)).all()


def test_tensorflow_graphics_agrees(rng: np.random.Generator) -> None:
    from tensorflow_graphics.rendering.volumetric import ray_radiance

    colors, densities, depths, lengths = random_ray_bundle(rng)
    rgba = np.concatenate([colors, densities[..., None]], -1)
    rgb, opacity, weights = ray_radiance.compute_radiance(rgba, lengths)
    seen = composite(colors, densities, depths, lengths)
    np.testing.assert_allclose(seen.weights, weights, atol=1e-6)
    np.testing.assert_allclose(seen.rgb, rgb, atol=1e-6)
    np.testing.assert_allclose(seen.opacity, opacity[..., 0], atol=1e-6)


def test_samples_need_not_fill_the_ray(rng: np.random.Generator) -> None:
    """Intervals with gaps between them: what lies in the gaps is left out, and the end is open."""
    densities = np.float32([[0.5, 2.0]])
    weights = sample_weights(densities, np.float32([[0.2, 0.1]])).numpy()[0]
    first = 1 - math.exp(-0.1)
    np.testing.assert_allclose(weights, [first, (1 - first) * (1 - math.exp(-0.2))], rtol=1e-5)


def test_distortion_is_the_mean_distance_of_two_places_of_the_weight(
    rng: np.random.Generator,
) -> None:
    """Summed pair by pair; within an interval of length d it is d / 3."""
    intervals = rng.uniform(0.1, 1, [4, 6]).astype(np.float32)
    ends = np.cumsum(intervals, -1)
    middles = (ends - intervals / 2).astype(np.float32)
    weights = rng.uniform(size=[4, 6]).astype(np.float32)
    expected = np.zeros(4)
    for i in range(6):
        for j in range(6):
            expected += weights[:, i] * weights[:, j] * np.abs(middles[:, i] - middles[:, j])
        expected += weights[:, i] ** 2 * intervals[:, i] / 3
    np.testing.assert_allclose(distortion(weights, middles, intervals), expected, rtol=1e-5)
