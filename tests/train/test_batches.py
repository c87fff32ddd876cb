"""Batches as a function of seed and step."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from small import (
    small_config,
    small_planes_config,
    small_renderer,
    small_scene,
    small_scene_under,
)

from tfnerf.errors import UserError
from tfnerf.fields.model import make_model
from tfnerf.scenes import Scene, to_colors
from tfnerf.train.batches import Batch, TrainingBatches
from tfnerf.volume.scene_renderer import SceneRenderer


def make(scene: Scene, **changes: object) -> TrainingBatches:
    config = small_config(**changes)
    sampler = small_renderer(scene, **changes).sampler
    return TrainingBatches(scene, sampler, config)


def flat(batch: Batch) -> list[np.ndarray]:
    return [part.numpy() for part in tf.nest.flatten(batch) if part is not None]


def pixels_of(scene: Scene, batch: Batch) -> list[tuple[int, int, int]]:
    """View, row and column of the rays of a batch, found from their geometry."""
    cameras = scene.train.cameras
    found = []
    for origin, direction in zip(batch.rays.origins.numpy(), batch.rays.directions.numpy()):
        distances = np.linalg.norm(cameras.camera_to_world[:, :, 3] - origin, axis=-1)
        view = int(distances.argmin())
        local = direction @ cameras.camera_to_world[view, :, :3]
        x, y = local[:2] / -local[2] * cameras.focal[view] * [1, -1] + cameras.center[view]
        found.append((view, int(np.floor(y)), int(np.floor(x))))
    return found


@pytest.mark.parametrize("batching", ["all_images", "one_image"])
def test_same_seed_and_step_same_batch(batching: str) -> None:
    scene = small_scene()
    one, again, other_seed = (make(scene, batching=batching, seed=seed) for seed in (5, 5, 6))
    for step in (0, 3):
        for a, b in zip(flat(one(step, 0, 64)), flat(again(step, 0, 64))):
            np.testing.assert_array_equal(a, b)
        assert (one(step, 0, 64).colors.numpy() != other_seed(step, 0, 64).colors.numpy()).any()
    assert (one(0, 0, 64).draws.jitter.numpy() != one(1, 0, 64).draws.jitter.numpy()).any()


@pytest.mark.parametrize("batching", ["all_images", "one_image"])
def test_parts_make_up_the_whole(batching: str) -> None:
    batches = make(small_scene(), batching=batching)
    whole = flat(batches(2, 0, 64))
    parts = zip(flat(batches(2, 0, 32)), flat(batches(2, 32, 32)))
    for all_rays, (first, second) in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(all_rays, np.concatenate([first, second]))


def test_colours_are_those_of_the_pixels() -> None:
    scene = small_scene()
    colors = to_colors(scene.train.images, 255, white_background=True).numpy()
    for batching in ("all_images", "one_image"):
        batch = make(scene, batching=batching)(1, 0, 64)
        for place, color in zip(pixels_of(scene, batch), batch.colors.numpy()):
            np.testing.assert_array_equal(color, colors[place])


def test_an_epoch_sees_every_pixel_once() -> None:
    scene = small_scene()  # 4 views of 192 pixels: 12 batches of 64
    batches = make(scene)
    for epoch in (0, 1):
        seen = Counter()
        for step in range(12 * epoch, 12 * epoch + 12):
            seen.update(pixels_of(scene, batches(step, 0, 64)))
        assert len(seen) == 4 * 192
        assert set(seen.values()) == {1}


def test_one_image_takes_different_pixels_of_one_image_and_all_images_in_time() -> None:
    scene = small_scene()
    batches = make(scene, batching="one_image")
    views = set()
    for step in range(40):
        places = pixels_of(scene, batches(step, 0, 64))
        assert len(set(places)) == 64
        assert len({view for view, _, _ in places}) == 1
        views.add(places[0][0])
    assert views == {0, 1, 2, 3}


def test_first_steps_stay_in_the_centre() -> None:
    scene = small_scene()
    batches = make(
        scene, batching="one_image", center_crop_steps=3, batch_size=48, center_crop_fraction=0.5
    )
    for step, rows, columns in ((2, {3, 8}, {4, 11}), (3, {0, 11}, {0, 15})):
        places = np.array(pixels_of(scene, batches(step, 0, 48)))
        if step < 3:  # all 6 x 8 pixels of the centre
            assert {places[:, 1].min(), places[:, 1].max()} == rows
            assert {places[:, 2].min(), places[:, 2].max()} == columns
        else:
            assert places[:, 2].max() > 11 or places[:, 2].min() < 4


def test_views_come_in_by_their_time() -> None:
    """At first the earliest three, in the end all of them."""
    scene = small_scene_under("time")
    cameras = scene.train.cameras.under({"time": np.float32([0.7, 0.1, 1.0, 0.2])})
    train = dataclasses.replace(scene.train, cameras=cameras)
    scene = dataclasses.replace(scene, splits={"train": train})
    batches = make(scene, batching="one_image", time_model="deform", time_growth_steps=100)

    def views_at(steps: range) -> set[int]:
        return {int(batches(step, 0, 1).views[0]) for step in steps}

    assert views_at(range(40)) == {0, 1, 3}
    assert views_at(range(100, 140)) == {0, 1, 2, 3}


def test_a_batch_says_which_images_its_rays_belong_to() -> None:
    scene = small_scene()
    batch = make(scene)(3, 0, 64)
    assert batch.views.numpy().tolist() == [view for view, _, _ in pixels_of(scene, batch)]


def test_a_batch_larger_than_the_image_is_refused() -> None:
    with pytest.raises(UserError, match=r"--batch_size=193: expected at most the 192 pixels"):
        make(small_scene(), batching="one_image", batch_size=193)
    with pytest.raises(UserError, match="48 pixels of a training image centre"):
        make(small_scene(), batching="one_image", batch_size=64, center_crop_steps=1)


def test_a_batch_that_will_be_larger_than_the_image_is_refused_at_once() -> None:
    """Not at the first refinement, when steps are done that could not be gone on from."""

    def check(**changes: Any) -> None:
        config = small_planes_config(
            refine_steps="6,12", batching="one_image", batch_size=64, **changes
        )
        sampler = SceneRenderer.of(small_scene(), make_model(config), config.rendering).sampler
        TrainingBatches(small_scene(), sampler, config)

    with pytest.raises(UserError, match="--draws_per_ray=4: expected at most the 192 pixels"):
        check(draws_per_ray=4)
    with pytest.raises(UserError, match=r"--draws_per_ray=2: .* 96 pixels of .* image centre"):
        check(draws_per_ray=2, center_crop_steps=9, center_crop_fraction=0.8)
    check(draws_per_ray=2, center_crop_steps=6, center_crop_fraction=0.8)
    check(draws_per_ray=4, num_steps=6)  # which ends before


def test_every_pixel_comes_once_before_any_comes_again_when_more_are_drawn() -> None:
    """Six batches of 64 and then three of 128 are the 768 pixels of the scene."""
    scene = small_scene()
    config = small_planes_config(refine_steps="6,12", draws_per_ray=2, batch_size=64)
    sampler = SceneRenderer.of(scene, make_model(config), config.rendering).sampler
    early, late = (TrainingBatches(scene, sampler, config, step) for step in (0, 6))
    assert (early.size, late.size) == (64, 128)
    batches = [early(step, 0, 64) for step in range(6)] + [late(6 + n, 0, 128) for n in range(3)]
    found = [pixel for batch in batches for pixel in pixels_of(scene, batch)]
    assert len(set(found)) == len(found) == 768
