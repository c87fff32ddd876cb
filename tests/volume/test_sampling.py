"""Sampling, against slow loops and the densities that the samples should follow."""

from __future__ import annotations

import bisect

import numpy as np
import pytest
import tensorflow as tf

from tfnerf.volume.sampling import (
    inverse_transform_samples,
    resample_depths,
    stratified_depths,
)


def test_depths_without_random_numbers_are_evenly_spaced() -> None:
    np.testing.assert_allclose(stratified_depths(2.0, 6.0, 1, 5)[0], [2, 3, 4, 5, 6], rtol=1e-6)
    disparities = 1 / stratified_depths(1.0, 4.0, 1, 4, lindisp=True)[0]
    np.testing.assert_allclose(disparities, [1, 0.75, 0.5, 0.25], rtol=1e-6)


def test_each_interval_holds_one_depth(rng: np.random.Generator) -> None:
    depths = stratified_depths(
        2.0, 6.0, 1000, 5, uniforms=tf.constant(rng.random([1000, 5]), tf.float32)
    ).numpy()
    borders = [2, 2.5, 3.5, 4.5, 5.5, 6]
    for index in range(5):
        inside = depths[:, index]
        assert inside.min() >= borders[index] and inside.max() <= borders[index + 1]
        assert inside.max() - inside.min() > 0.9 * (borders[index + 1] - borders[index])


def test_near_and_far_may_differ_by_ray() -> None:
    depths = stratified_depths(np.float32([[1], [2]]), np.float32([[3], [6]]), 2, 3)
    np.testing.assert_allclose(depths, [[1, 2, 3], [2, 4, 6]])


def slow_samples(edges: np.ndarray, weights: np.ndarray, u: np.ndarray) -> list[float]:
    """One ray, one sample at a time, in double precision."""
    weights = weights.astype(np.float64) + 1e-5
    cdf = [0.0]
    for weight in weights / weights.sum():
        cdf.append(cdf[-1] + weight)
    samples = []
    for value in u:
        above = min(bisect.bisect_right(cdf, value), len(cdf) - 1)
        below = max(bisect.bisect_right(cdf, value) - 1, 0)
        step = cdf[above] - cdf[below]
        fraction = (value - cdf[below]) / (step if step >= 1e-5 else 1)
        samples.append(edges[below] + fraction * (edges[above] - edges[below]))
    return samples


def test_inverse_transform_samples_equal_a_slow_loop(rng: np.random.Generator) -> None:
    edges = np.sort(rng.uniform(2, 6, [20, 17]), -1).astype(np.float32)
    weights = rng.exponential(size=[20, 16]).astype(np.float32)
    u = rng.random([20, 40]).astype(np.float32)
    samples = inverse_transform_samples(edges, weights, u).numpy()
    for ray in range(20):
        np.testing.assert_allclose(
            samples[ray], slow_samples(edges[ray], weights[ray], u[ray]), atol=1e-4
        )


@pytest.mark.parametrize("jit_compile", [False, True])
def test_samples_follow_the_weights(jit_compile: bool) -> None:
    edges = tf.constant([[0.0, 1.0, 3.0, 4.0]])
    weights = tf.constant([[1.0, 2.0, 5.0]])
    u = tf.reshape(tf.range(8000, dtype=tf.float32) / 8000, [1, -1])
    sample = tf.function(inverse_transform_samples, jit_compile=jit_compile)
    counts, _ = np.histogram(sample(edges, weights, u), bins=[0, 1, 3, 4])
    np.testing.assert_allclose(counts / 8000, [1 / 8, 2 / 8, 5 / 8], atol=2e-3)


def test_an_empty_ray_is_resampled_evenly() -> None:
    depths = stratified_depths(2.0, 6.0, 1, 33)
    samples = resample_depths(depths, tf.zeros([1, 33]), 64).numpy()[0]
    np.testing.assert_allclose(np.diff(samples), np.diff(samples).mean(), rtol=1e-2)


def test_no_gradient_flows_through_samples() -> None:
    weights = tf.Variable(tf.ones([1, 8]))
    with tf.GradientTape() as tape:
        samples = resample_depths(stratified_depths(2.0, 6.0, 1, 8), weights, 16)
        total = tf.reduce_sum(samples)
    assert tape.gradient(total, weights) is None
