"""What a survey of a trained field keeps, and what it leaves out."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from known_fields import KnownField, known_model
from small import small_config, small_scene

from tfnerf.fields.density_grid import DensityGrid
from tfnerf.fields.field import Conditions, condition_of
from tfnerf.geometry.cameras import Rays
from tfnerf.scenes import some_pixels
from tfnerf.volume.scene_renderer import SceneRenderer
from tfnerf.volume.survey import coarse_survey, fine_survey, keep_seen

BOX = np.array([[-2.0] * 3, [2.0] * 3])


def ball(center: tuple[float, float, float], radius: float, points: tf.Tensor) -> tf.Tensor:
    return tf.norm(points - tf.constant(center, tf.float32), axis=-1) < radius


def density(points: tf.Tensor) -> tf.Tensor:
    """A hollow black ball with another in it, and fog that is as white as the background."""
    hollow = ball((0, 0, 0), 0.7, points) & ~ball((0, 0, 0), 0.4, points)
    fog = tf.where(ball((1.4, 0, 0.3), 0.3, points), 1.0, 0.0)
    return tf.where(hollow | ball((0, 0, 0), 0.15, points), 200.0, fog)


def color(points: tf.Tensor, viewdirs: tf.Tensor) -> tf.Tensor:
    white = ball((1.4, 0, 0.3), 0.35, points)
    return tf.where(white[:, None], 1.0, 0.0) * tf.ones_like(points)


def test_what_pictures_are_the_same_without_is_left_out() -> None:
    scene = small_scene(num_views=8, height=40, width=40)  # from above, on white
    settings = small_config(num_coarse_samples=64, num_fine_samples=64).rendering
    renderer = SceneRenderer.of(scene, known_model(KnownField(density, color)), settings)
    coarse = coarse_survey(renderer.model.final, BOX)
    centers = (np.indices([64] * 3).reshape(3, -1).T + 0.5) / 16 - 2
    solid = density(tf.constant(centers, tf.float32)).numpy() > 0
    assert coarse.occupied.numpy().ravel()[solid].all()
    rays, _ = some_pixels(scene, scene.train, 8000)
    box = keep_seen(coarse, renderer, rays)
    kept = coarse.occupied.numpy().ravel()
    distance = np.linalg.norm(centers, axis=-1)
    surface = (distance > 0.6) & (distance < 0.7) & (centers[:, 2] > 0)
    assert kept[surface].all()
    assert not kept[distance < 0.2].any()
    white = np.linalg.norm(centers - [1.4, 0, 0.3], axis=-1) < 0.2
    assert kept[white].mean() < 0.7  # only where it veils the black ball
    fine = DensityGrid(64)
    fine_survey(renderer.model.final, coarse, fine, box)
    low, high = fine.box.corners.numpy()
    assert (low[:2] <= -0.65).all() and (high >= 0.65).all()


def test_what_lies_between_the_points_of_a_survey_is_kept_where_cameras_see_it() -> None:
    """A pole along z, thinner than points are apart."""

    def pole(points: tf.Tensor) -> tf.Tensor:
        inside = (tf.norm(points[:, :2], axis=-1) < 0.015) & (tf.abs(points[:, 2]) < 0.8)
        return tf.where(inside, 400.0, 0.0)

    scene = small_scene(num_views=8, height=61, width=61)  # whose middle columns see it
    settings = small_config(num_coarse_samples=256, num_fine_samples=64).rendering
    renderer = SceneRenderer.of(scene, known_model(KnownField(pole, color)), settings)
    coarse = coarse_survey(renderer.model.final, BOX)
    assert not coarse.occupied.numpy().any()
    rays, _ = some_pixels(scene, scene.train, 8000)
    box = keep_seen(coarse, renderer, rays)
    heights = tf.linspace(-0.7, 0.7, 60)
    on_pole = tf.stack([0 * heights, 0 * heights, heights], -1)
    assert coarse.occupied_at(on_pole).numpy().mean() > 0.9
    assert coarse.occupied_share < 0.01
    fine = DensityGrid(256)  # with cells as wide as the pole is thick
    fine_survey(renderer.model.final, coarse, fine, box)
    assert fine.occupied_at(on_pole).numpy().mean() > 0.9


class Passing(KnownField):
    """A ball that crosses in front of a wall at x = -1."""

    def call(
        self,
        points: tf.Tensor,
        conditions: Conditions | None = None,
        density_noise: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        offset = points[:, 1] - (2 * condition_of(conditions, "time") - 1)
        ball = points[:, 0] ** 2 + offset**2 + points[:, 2] ** 2 < 0.3**2
        return tf.where(ball | (points[:, 0] < -1), 200.0, 0.0), points


def test_what_passed_by_hides_nothing_later() -> None:
    field = Passing(density, color)
    grid = DensityGrid(48, num_times=8)
    coarse = coarse_survey(field, BOX, grid.telling_times(field))
    fine_survey(field, coarse, grid, coarse.occupied_box(all_pieces=True))
    towards_wall = Rays(*tf.constant([[[2.0, -0.9, 0]], [[-1.0, 0, 0]], [[-1.0, 0, 0]]]))
    depths = tf.constant([[2.0, 3.5]])  # where the ball was at first, and in the wall
    for time, there in ((0.05, [True, True]), (0.9, [False, True])):
        rays = towards_wall._replace(conditions={"time": tf.constant([time])})
        densities, _ = grid.look_along(rays, depths)
        np.testing.assert_array_equal(densities[0] > 0, there)


def test_where_nothing_is_seen_everything_is_kept() -> None:
    scene = small_scene()
    empty = KnownField(lambda points: tf.zeros(tf.shape(points)[:1]), color)
    renderer = SceneRenderer.of(scene, known_model(empty), small_config().rendering)
    coarse = coarse_survey(renderer.model.final, BOX)
    rays, _ = some_pixels(scene, scene.train, 100)
    keep_seen(coarse, renderer, rays)
    assert not coarse.occupied.numpy().any()
