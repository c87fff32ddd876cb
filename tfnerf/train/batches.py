"""Training batches as a pure function of (seed, step)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.geometry.cameras import Rays
from tfnerf.random_numbers import BatchRows, Stream, permutation_key, permute, random_bits
from tfnerf.scenes import Scene, Views, to_colors
from tfnerf.settings import Config
from tfnerf.volume.samplers import Sampler
from tfnerf.volume.samples import Draws

_FIRST_VIEWS = 3
"""At least so many are drawn from while views come in by their time."""


class Batch(NamedTuple):
    """Rays with the colours that they should have."""

    rays: Rays
    """N of them, in scene coordinates."""
    views: tf.Tensor
    """[N] int64, indices of the training views that they belong to."""
    colors: tf.Tensor
    """[N, 3]"""
    draws: Draws


def all_pixels(views: Views) -> tf.Tensor:
    """All pixels [V * H * W, C] of views, as large as the images.

    They stay in the host's memory: a GPU is sent the pixels of its rays only.
    """
    with tf.device("CPU:0"):
        return tf.constant(views.images.reshape([-1, views.images.shape[-1]]))


def _counting_pixels(views: Views) -> tf.Tensor | None:
    """Indices [P] int64 of the pixels that no mask covers; None: all."""
    if views.masks is None:
        return None
    with tf.device("CPU:0"):
        return tf.constant(np.flatnonzero(views.masks), tf.int64)


def _views_by_time(views: Views) -> np.ndarray:
    """Indices [V] of views from the earliest to the last; as they are where nothing moves."""
    times = (views.cameras.conditions or {}).get("time", np.zeros(len(views)))
    return np.argsort(times, kind="stable")


class TrainingBatches:
    """The batches of a training run.

    The batch of a step does not depend on the number of devices: each of them asks for its part.

    Args:
      scene: its training views are drawn from.
      sampler: says which random numbers rays need.
      config: seed, batch size, where the rays come from.
      step: from which on batches are wanted; later ones may be larger than those before.
      pixels: what `all_pixels` of the training views gave, if they were copied before.

    Raises:
      UserError: an image (or its centre) has fewer pixels than a batch has rays.
    """

    def __init__(
        self,
        scene: Scene,
        sampler: Sampler,
        config: Config,
        step: int = 0,
        pixels: tf.Tensor | None = None,
    ):
        training = config.training
        self._scene = scene
        self._sampler = sampler
        self._training = training
        self.size = training.batch_size
        """Rays of a batch."""
        self._skipped = 0
        if config.times_refined(step):
            self.size *= training.draws_per_ray
            self._skipped = config.refined_at[0] * (self.size - training.batch_size)
        views = scene.train
        height, width = views.cameras.height, views.cameras.width
        self._whole = (0, 0, height, width)
        half_height = int(height // 2 * training.center_crop_fraction)
        half_width = int(width // 2 * training.center_crop_fraction)
        self._center = (
            height // 2 - half_height,
            width // 2 - half_width,
            2 * half_height,
            2 * half_width,
        )
        if training.batching == "one_image":
            if views.masks is not None:
                raise UserError("--batching=one_image: masks need --batching=all_images")
            self._check_one_image(config)
        self.pixels = all_pixels(views) if pixels is None else pixels
        self._counting = _counting_pixels(views)
        self._by_time = _views_by_time(views)

    def _check_one_image(self, config: Config) -> None:
        """Raises UserError if a batch, of this step or a later one, has more rays than pixels."""
        training = config.training
        whole, center = (window[2] * window[3] for window in (self._whole, self._center))
        first_refined = min(config.refined_at, default=training.num_steps)
        grown = training.draws_per_ray if first_refined < training.num_steps else 1
        windows = [(grown, whole, "")]
        if training.center_crop_steps:
            grows_there = first_refined < training.center_crop_steps
            windows.append((grown if grows_there else 1, center, " centre"))
        for draws_per_ray, num_pixels, part in windows:
            if training.batch_size * draws_per_ray > num_pixels:
                drawn = f"--batch_size={training.batch_size}"
                if draws_per_ray > 1:
                    drawn += f" times --draws_per_ray={draws_per_ray}"
                raise UserError(
                    f"{drawn}: expected at most the {num_pixels} pixels of a training image{part}"
                )

    def __call__(self, step: tf.Tensor, first: tf.Tensor, count: int) -> Batch:
        """Part of the batch of a step.

        Args:
          step: scalar int.
          first: scalar int, index in the batch of the first ray wanted.
          count: N, how many rays are wanted.
        """
        step, first = tf.cast(step, tf.int64), tf.cast(first, tf.int64)
        places = first + tf.range(count, dtype=tf.int64)
        if self._training.batching == "all_images":
            view, row, column = self._among_all_images(step, places)
        else:
            view, row, column = self._in_one_image(step, places)
        scene, cameras = self._scene, self._scene.train.cameras
        pixel = (view * cameras.height + row) * cameras.width + column
        with tf.device("CPU:0"):
            pixels = tf.gather(self.pixels, pixel)
        return Batch(
            rays=cameras.rays(view, row, column, pixel_centers=scene.pixel_centers),
            views=view,
            colors=to_colors(
                pixels, scene.train.white_level, white_background=scene.white_background
            ),
            draws=self._sampler.draw(BatchRows(self._training.seed, step, self.size, first, count)),
        )

    def _among_all_images(self, step: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """View, row and column [N] of rays from all images, each once before any comes again."""
        height, width = self._whole[2:]
        num_pixels = len(self._scene.train) * height * width
        if self._counting is not None:
            num_pixels = len(self._counting)
        index = step * self.size - self._skipped + places
        key = permutation_key(self._training.seed, index // num_pixels)
        pixel = permute(index % num_pixels, num_pixels, key)
        if self._counting is not None:
            with tf.device("CPU:0"):
                pixel = tf.gather(self._counting, pixel)
        return pixel // (height * width), pixel // width % height, pixel % width

    def _num_views(self, step: tf.Tensor) -> tf.Tensor:
        """How many views are drawn from, scalar int64: at first only the earliest."""
        num_views = len(self._scene.train)
        growth = self._training.time_growth_steps
        if not growth:
            return tf.constant(num_views, tf.int64)
        return tf.clip_by_value(step * num_views // growth, min(_FIRST_VIEWS, num_views), num_views)

    def _in_one_image(self, step: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """View, row and column [N] of different pixels of one random image."""
        seed = self._training.seed
        bits = random_bits(1, seed, step, Stream.VIEW)[0]
        view = tf.cast(bits, tf.int64) % self._num_views(step)
        if self._training.time_growth_steps:
            view = tf.gather(self._by_time, view)

        def pixels_of(window: tuple[int, int, int, int]) -> tuple[tf.Tensor, tf.Tensor]:
            top, left, height, width = window
            pixel = permute(places, height * width, permutation_key(seed, step))
            return top + pixel // width, left + pixel % width

        if self._training.center_crop_steps:
            row, column = tf.cond(
                step < self._training.center_crop_steps,
                lambda: pixels_of(self._center),
                lambda: pixels_of(self._whole),
            )
        else:
            row, column = pixels_of(self._whole)
        return tf.fill(tf.shape(row), view), row, column
