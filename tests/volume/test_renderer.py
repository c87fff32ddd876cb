"""Rendering rays and images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from small import NETWORK, RENDERING, small_scene

from tfnerf.fields.mlp import NeRF
from tfnerf.geometry.cameras import Rays
from tfnerf.runs.trained import make_renderer
from tfnerf.volume.renderer import Draws, render_rays


class Ball:
    """A field that is known: a ball of some radius, opaque and of one colour."""

    def __init__(self, radius: float = 1.0, scale: float = 1.0):
        self.radius = radius
        self.scale = scale

    def __call__(self, positions: tf.Tensor, viewdirs: tf.Tensor) -> tf.Tensor:
        inside = tf.norm(positions, axis=-1) < self.radius
        density = tf.where(inside, 50.0 / self.scale, -1.0)
        rgb = tf.broadcast_to([2.0, -1.0, 0.0], [*positions.shape[:-1], 3])
        return tf.concat([rgb, density[..., tf.newaxis]], -1)


class KnownModel:
    """Coarse and fine of the same known field."""

    def __init__(self, field: Ball):
        self.coarse = self.finest = field


def parallel_rays(height: tf.Tensor, length: float = 1.0) -> Rays:
    """Rays along x from x = -4 at heights z."""
    zero = tf.zeros_like(height)
    origins = tf.stack([zero - 4, zero, height], -1)
    directions = tf.stack([zero + length, zero, zero], -1)
    return Rays(origins, directions, directions / length)


def test_depth_of_a_ball_is_where_its_surface_is() -> None:
    height = tf.linspace(-0.9, 0.9, 20)
    settings = dataclasses.replace(RENDERING, num_coarse_samples=64, num_fine_samples=128)
    rendering = render_rays(
        KnownModel(Ball()), parallel_rays(height), 2.0, 6.0, settings, white_background=False
    )
    np.testing.assert_allclose(rendering.fine.depth, 4 - np.sqrt(1 - height**2), atol=0.08)
    np.testing.assert_allclose(rendering.fine.opacity, 1, atol=1e-4)
    np.testing.assert_allclose(rendering.fine.rgb[0], tf.sigmoid([2.0, -1.0, 0.0]), atol=1e-4)


def test_resampling_looks_closer_at_the_surface() -> None:
    height = tf.linspace(-0.9, 0.9, 50)
    settings = dataclasses.replace(RENDERING, num_coarse_samples=32, num_fine_samples=64)
    seen = render_rays(
        KnownModel(Ball()), parallel_rays(height), 2.0, 6.0, settings, white_background=False
    )
    truth = 4 - np.sqrt(1 - height**2)
    errors = [np.abs(part.depth - truth).mean() for part in (seen.fine, seen.coarse)]
    assert errors[0] < 0.7 * errors[1]


def test_scaling_the_scene_with_near_and_far_changes_no_colour() -> None:
    height = tf.linspace(-1.2, 1.2, 30)
    one = render_rays(
        KnownModel(Ball()), parallel_rays(height), 2.0, 6.0, RENDERING, white_background=True
    )
    rays = parallel_rays(height)
    rays = rays._replace(origins=rays.origins * 4)
    four = render_rays(
        KnownModel(Ball(4.0, 4.0)), rays, 8.0, 24.0, RENDERING, white_background=True
    )
    np.testing.assert_allclose(one.fine.rgb, four.fine.rgb, atol=1e-5)


def test_length_of_directions_changes_no_colour() -> None:
    """Depth counts in lengths of the direction, density per scene unit."""
    height = tf.linspace(-1.2, 1.2, 30)
    one = render_rays(
        KnownModel(Ball()), parallel_rays(height), 2.0, 6.0, RENDERING, white_background=True
    )
    half = render_rays(
        KnownModel(Ball()), parallel_rays(height, 2.0), 1.0, 3.0, RENDERING, white_background=True
    )
    np.testing.assert_allclose(one.fine.rgb, half.fine.rgb, atol=1e-5)


def test_noise_and_jitter_change_the_result_and_nothing_else_is_random() -> None:
    model = NeRF.from_settings(NETWORK, with_fine=True)
    rays = parallel_rays(tf.linspace(-1.0, 1.0, 6))

    def render(draws: Draws) -> np.ndarray:
        seen = render_rays(model, rays, 2.0, 6.0, RENDERING, white_background=True, draws=draws)
        return seen.fine.rgb.numpy()

    plain = render(Draws())
    np.testing.assert_array_equal(plain, render(Draws()))
    third = tf.fill([6, 8], 0.3)
    for draws in (
        Draws(jitter=third),
        Draws(resampling=third),
        Draws(coarse_noise=10 * third),
        Draws(fine_noise=tf.fill([6, 16], 3.0)),
    ):
        assert np.abs(render(draws) - plain).max() > 1e-6


@pytest.mark.parametrize("rays_per_chunk", [1, 7, 64, 192, 1000])
def test_images_do_not_depend_on_the_chunks(rays_per_chunk: int) -> None:
    scene = small_scene()
    model = NeRF.from_settings(NETWORK, with_fine=True)

    def render(chunk: int) -> tuple:
        settings = dataclasses.replace(RENDERING, rays_per_chunk=chunk)
        return make_renderer(model, scene, settings)(scene.train.cameras, 2)

    for one, other in zip(render(rays_per_chunk), render(50)):
        assert one.shape[:2] == (12, 16)
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_image_is_its_rays_row_by_row() -> None:
    scene = small_scene()
    model = NeRF.from_settings(NETWORK, with_fine=True)
    image = make_renderer(model, scene, RENDERING)(scene.train.cameras, 1)
    rays = scene.train.cameras.rays([1], [3], [10], pixel_centers=True)
    alone = render_rays(model, rays, 2.0, 6.0, RENDERING, white_background=True).fine
    np.testing.assert_allclose(image.rgb[3, 10], alone.rgb[0], atol=1e-5)
    np.testing.assert_allclose(image.depth[3, 10], alone.depth[0], atol=1e-4)
