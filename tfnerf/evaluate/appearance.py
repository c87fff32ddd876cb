"""Codes of appearance for photographs that were not trained on.

A held-out photograph has an exposure and a weather that nobody knows, so its code is fitted to its
left half, and its right half is what counts (NeRF in the Wild: Martin-Brualla et al. 2021).
"""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from tfnerf.geometry.cameras import Cameras, Rays
from tfnerf.scenes import Scene, Views, to_colors
from tfnerf.volume.image_renderer import Image
from tfnerf.volume.scene_renderer import SceneRenderer

_NUM_STEPS = 100
_RAYS_PER_STEP = 512
_RATE = 0.1
"""Of Adam, which goes down to nothing by a half cosine."""


def right_half(image: Image) -> Image:
    """The half of a rendered view that was not fitted to."""
    return Image(*(part[:, image.rgb.shape[1] // 2 :] for part in image))


class CodeFit:
    """Fits codes to the left halves of photographs; compiled once for all views.

    Args:
      renderer: of the scene.
      scene: that the views belong to.
      views: with photographs, under codes to begin from.
    """

    def __init__(self, renderer: SceneRenderer, scene: Scene, views: Views):
        self._renderer = renderer
        self._scene = scene
        self._views = views
        self._gradient = tf.function(self._of_code, reduce_retracing=True, autograph=False)

    def __call__(self, view: int) -> Cameras:
        """The camera of a view, alone, under the code that its left half looks most like."""
        camera = self._views.cameras[view : view + 1]
        assert camera.conditions is not None
        code = keras.Variable(camera.conditions["appearance"][0])
        pixels = self._pixels(view)
        random = np.random.default_rng(view)
        adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_RATE, _NUM_STEPS))
        for _ in range(_NUM_STEPS if len(pixels) else 0):
            rays, colors = self._rays(view, random.choice(pixels, _RAYS_PER_STEP))
            adam.apply([self._gradient(rays, colors, code.value)], [code])
        return camera.under({**camera.conditions, "appearance": code.numpy()[np.newaxis]})

    def _pixels(self, view: int) -> np.ndarray:
        """Of the left half, as far as they count; by index, row by row."""
        cameras, masks = self._views.cameras, self._views.masks
        counting = np.ones([cameras.height, cameras.width], bool) if masks is None else masks[view]
        in_left_half = np.arange(cameras.width) < cameras.width // 2
        return np.flatnonzero(counting & in_left_half)

    def _rays(self, view: int, pixels: np.ndarray) -> tuple[Rays, tf.Tensor]:
        cameras = self._views.cameras
        rays = cameras.pixel_rays(view, pixels, pixel_centers=self._scene.pixel_centers)
        stored = self._views.images[view].reshape(-1, self._views.images.shape[-1])[pixels]
        white = self._scene.white_background
        return rays, to_colors(stored, self._views.white_level, white_background=white)

    def _of_code(self, rays: Rays, colors: tf.Tensor, code: tf.Tensor) -> tf.Tensor:
        """The gradient [A] of the squared error of rays by their common code."""
        with tf.GradientTape() as tape:
            tape.watch(code)
            codes = tf.tile(code[tf.newaxis], [tf.shape(colors)[0], 1])
            conditions = {**(rays.conditions or {}), "appearance": codes}
            final = self._renderer.render(rays._replace(conditions=conditions)).final
            loss = tf.reduce_mean(tf.square(final.rgb - colors))
        return tape.gradient(loss, code)
