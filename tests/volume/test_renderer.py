"""Rendering rays and images."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from known_fields import KnownField, known_model
from small import RENDERING, small_model, small_renderer, small_scene

from tfnerf.fields.model import NeRF
from tfnerf.geometry.cameras import Rays
from tfnerf.volume.image_renderer import Image, ImageRenderer
from tfnerf.volume.samples import Draws, Samples, render_samples
from tfnerf.volume.scene_renderer import Rendering

COLOR = np.float32([0.88, 0.27, 0.5])


def ball(radius: float = 1.0, scale: float = 1.0) -> NeRF:
    """A field that is known: a ball of some radius, opaque and of one colour."""

    def density(points: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.norm(points, axis=-1) < radius, 50.0 / scale, 0.0)

    def color(features: tf.Tensor, viewdirs: tf.Tensor) -> tf.Tensor:
        return tf.broadcast_to(COLOR, tf.shape(viewdirs))

    return known_model(KnownField(density, color))


def render(
    model: NeRF,
    rays: Rays,
    near: float = 2.0,
    far: float = 6.0,
    *,
    white_background: bool = False,
    draws: Draws = Draws(),
    **changes: int,
) -> Rendering:
    scene = dataclasses.replace(
        small_scene(), near=near, far=far, white_background=white_background
    )
    return small_renderer(scene, model, **changes).render(rays, draws)


def parallel_rays(height: tf.Tensor, length: float = 1.0) -> Rays:
    """Rays along x from x = -4 at heights z."""
    zero = tf.zeros_like(height)
    origins = tf.stack([zero - 4, zero, height], -1)
    directions = tf.stack([zero + length, zero, zero], -1)
    return Rays(origins, directions, directions / length)


def test_depth_of_a_ball_is_where_its_surface_is() -> None:
    height = tf.linspace(-0.9, 0.9, 20)
    seen = render(ball(), parallel_rays(height), num_coarse_samples=64, num_fine_samples=128).final
    np.testing.assert_allclose(seen.depth, 4 - np.sqrt(1 - height**2), atol=0.08)
    np.testing.assert_allclose(seen.opacity, 1, atol=1e-4)
    np.testing.assert_allclose(seen.rgb[0], COLOR, atol=1e-4)


def test_resampling_looks_closer_at_the_surface() -> None:
    height = tf.linspace(-0.9, 0.9, 50)
    seen = render(ball(), parallel_rays(height), num_coarse_samples=32, num_fine_samples=64)
    truth = 4 - np.sqrt(1 - height**2)
    errors = [np.abs(part.depth - truth).mean() for part in (seen.final, seen.preview)]
    assert errors[0] < 0.7 * errors[1]


def test_scaling_the_scene_with_near_and_far_changes_no_colour() -> None:
    height = tf.linspace(-1.2, 1.2, 30)
    one = render(ball(), parallel_rays(height), white_background=True)
    rays = parallel_rays(height)
    rays = rays._replace(origins=rays.origins * 4)
    four = render(ball(4.0, 4.0), rays, 8.0, 24.0, white_background=True)
    np.testing.assert_allclose(one.final.rgb, four.final.rgb, atol=1e-5)


def test_length_of_directions_changes_no_colour() -> None:
    """Depth counts in lengths of the direction, density per scene unit."""
    height = tf.linspace(-1.2, 1.2, 30)
    one = render(ball(), parallel_rays(height), white_background=True)
    half = render(ball(), parallel_rays(height, 2.0), 1.0, 3.0, white_background=True)
    np.testing.assert_allclose(one.final.rgb, half.final.rgb, atol=1e-5)


def test_noise_and_jitter_change_the_result_and_nothing_else_is_random() -> None:
    model = small_model()
    rays = parallel_rays(tf.linspace(-1.0, 1.0, 6))

    def final_colors(draws: Draws) -> np.ndarray:
        return render(model, rays, white_background=True, draws=draws).final.rgb.numpy()

    plain = final_colors(Draws())
    np.testing.assert_array_equal(plain, final_colors(Draws()))
    third = tf.fill([6, 8], 0.3)
    for draws in (
        Draws(jitter=third),
        Draws(resampling=third),
        Draws(sampling_noise=10 * third),
        Draws(density_noise=tf.fill([6, 16], 3.0)),
    ):
        assert np.abs(final_colors(draws) - plain).max() > 1e-6


def some_samples(rng: np.random.Generator) -> tuple[Rays, Samples]:
    """Rays of a scene with random samples on them."""
    rays = parallel_rays(tf.linspace(-1.0, 1.0, 6))
    depths = np.sort(rng.uniform(2, 6, [6, 9]), -1).astype(np.float32)
    intervals = rng.uniform(0.05, 0.2, [6, 9]).astype(np.float32)
    return rays, Samples(tf.constant(depths), tf.constant(intervals))


def test_colours_are_made_only_where_they_show(rng: np.random.Generator) -> None:
    """Behind what is opaque, and in front of it, where there is nothing."""
    rays, samples = some_samples(rng)
    asked = []

    def color(features: tf.Tensor, viewdirs: tf.Tensor) -> tf.Tensor:
        asked.append(len(features))
        return tf.sigmoid(features + viewdirs)

    field = KnownField(lambda points: 40 * tf.nn.relu(points[:, 0] + 0.5), color)
    whole = render_samples(field, rays, samples)
    spared = render_samples(field, rays, samples._replace(faint=tf.fill([6], 1e-3)))
    np.testing.assert_array_equal(spared.weights, whole.weights)
    shows = whole.weights.numpy() > 1e-3
    assert asked == [shows.size, shows.sum()] and shows.mean() < 0.5
    np.testing.assert_allclose(spared.rgb, whole.rgb, atol=9e-3)
    assert np.abs(spared.rgb - whole.rgb).max() > 0


def test_samples_that_are_not_live_are_empty(rng: np.random.Generator) -> None:
    """As if the density were zero there, though the field is never asked."""
    model, (rays, samples) = small_model(), some_samples(rng)
    live = rng.random([6, 9]) < 0.4
    asked = []

    def density(points: tf.Tensor) -> tf.Tensor:
        asked.append(len(points))
        return model.final(points)[0]

    def color(features: tf.Tensor, viewdirs: tf.Tensor) -> tf.Tensor:
        return model.final.radiance(features, viewdirs).rgb

    field = KnownField(density, color)
    noise = tf.constant(rng.normal(size=[6, 9]), tf.float32)
    seen = render_samples(field, rays, samples._replace(live=tf.constant(live)), noise)
    assert asked == [live.sum()]
    never = tf.where(live, noise, -1e9)  # which the activation turns into no density
    expected = render_samples(field, rays, samples, never)
    for one, other in zip(seen, expected):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_colour_worked_out_per_ray_is_that_of_composited_features(
    rng: np.random.Generator,
) -> None:
    """Of a field whose colour is linear in its features, it is the same as per sample."""
    rays, samples = some_samples(rng)

    def color(features: tf.Tensor, viewdirs: tf.Tensor) -> tf.Tensor:
        return 0.1 * features + 0.2

    field = KnownField(lambda points: tf.norm(points, axis=-1), color)
    deferred = KnownField(
        lambda points: tf.norm(points, axis=-1),
        lambda features, viewdirs: 0.1 * features / opacity[:, tf.newaxis] + 0.2,
    )
    deferred.colors_per_ray = 1
    per_sample = render_samples(field, rays, samples)
    opacity = per_sample.opacity
    per_ray = render_samples(deferred, rays, samples)
    np.testing.assert_allclose(per_ray.rgb, per_sample.rgb, atol=1e-5)
    np.testing.assert_array_equal(per_ray.weights, per_sample.weights)


@pytest.mark.parametrize("num_parts", [2, 3, 9, 20])
def test_colours_of_parts_of_rays_are_of_their_mean_features(
    num_parts: int, rng: np.random.Generator
) -> None:
    """Against a loop; parts without samples, and rays that meet nothing, are black."""
    rays, samples = some_samples(rng)
    nothing = tf.constant(rng.random([6, 9]) < 0.3) | (tf.range(6)[:, tf.newaxis] == 2)

    def density(points: tf.Tensor) -> tf.Tensor:
        return tf.where(tf.reshape(nothing, [-1]), 0.0, tf.norm(points, axis=-1))

    field = KnownField(density, lambda features, viewdirs: tf.sin(features + viewdirs) ** 2)
    field.colors_per_ray = num_parts
    seen = render_samples(field, rays, samples)
    points = rays.at(samples.depths).numpy()
    for ray, weights in enumerate(seen.weights.numpy()):
        rgb = np.zeros(3)
        for part in range(num_parts):
            inside = [s for s in range(9) if s * num_parts // 9 == part and weights[s] > 0]
            if inside:
                total = weights[inside].sum()
                mean = (weights[inside, np.newaxis] * points[ray, inside]).sum(0) / total
                rgb += total * np.sin(mean + rays.viewdirs[ray].numpy()) ** 2
        np.testing.assert_allclose(seen.rgb[ray], rgb, atol=1e-5)


@pytest.mark.parametrize("rays_per_chunk", [1, 7, 64, 192, 1000])
def test_images_do_not_depend_on_the_chunks(rays_per_chunk: int) -> None:
    scene = small_scene()
    renderer = small_renderer(scene)

    def image(chunk: int) -> Image:
        settings = dataclasses.replace(RENDERING, rays_per_chunk=chunk)
        return ImageRenderer(renderer, settings)(scene.train.cameras, 2)

    for one, other in zip(image(rays_per_chunk), image(50)):
        assert one.shape[:2] == (12, 16)
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("jit_compile", ["off", "on"])
def test_two_devices_render_like_one(jit_compile: str) -> None:
    scene = small_scene()
    settings = dataclasses.replace(RENDERING, rays_per_chunk=50, jit_compile=jit_compile)
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    strategy = tf.distribute.MirroredStrategy(devices)
    with strategy.scope():
        model = small_model()
    renderer = small_renderer(scene, model)
    one = ImageRenderer(renderer, settings)
    two = ImageRenderer(renderer, settings, strategy)
    for view in range(4):
        for a, b in zip(one(scene.train.cameras, view), two(scene.train.cameras, view)):
            np.testing.assert_allclose(a, b, atol=1e-5)


def test_progress_counts_every_ray_once_and_calls_get_fewer() -> None:
    scene = small_scene()
    settings = dataclasses.replace(RENDERING, rays_per_chunk=10)
    renderer = ImageRenderer(small_renderer(scene), settings)
    for _ in range(3):
        before, counts = renderer.num_calls, []
        renderer(scene.train.cameras, 0, counts.append)
        assert sum(counts) == 192
        assert len(counts) == renderer.num_calls - before
    # Once it is known that a chunk takes no time, a view is one call.
    assert len(counts) == 1


def test_an_image_is_its_rays_row_by_row() -> None:
    scene = small_scene()
    renderer = small_renderer(scene)
    image = ImageRenderer(renderer, RENDERING)(scene.train.cameras, 1)
    rays = scene.train.cameras.rays([1], [3], [10], pixel_centers=True)
    alone = renderer.render(rays).final
    np.testing.assert_allclose(image.rgb[3, 10], alone.rgb[0], atol=1e-5)
    np.testing.assert_allclose(image.depth[3, 10], alone.depth[0], atol=1e-4)
