"""Codes of appearance for photographs that were not trained on.

A held-out photograph has an exposure and a weather that nobody knows, so its code is fitted to its
left half, and its right half is what counts (NeRF in the Wild: Martin-Brualla et al. 2021).
"""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tfnerf.geometry.cameras import Rays
from tfnerf.scenes import Scene, Views, to_colors
from tfnerf.volume.scene_renderer import SceneRenderer

_NUM_STEPS = 100
_RAYS_PER_STEP = 512
_RATE = 0.1
"""Of Adam, which goes down to nothing by a half cosine."""


def left_half(views: Views) -> np.ndarray:
    """Which pixels [H, W] codes are fitted to."""
    columns = np.arange(views.cameras.width) < views.cameras.width // 2
    return np.tile(columns, [views.cameras.height, 1])


def on_right_half(views: Views) -> Views:
    """Views of which the pixels of the left half do not count."""
    counting = np.broadcast_to(~left_half(views), [len(views), *left_half(views).shape])
    masks = counting if views.masks is None else counting & views.masks
    return dataclasses.replace(views, masks=masks)


def with_fitted_codes(renderer: SceneRenderer, scene: Scene, views: Views) -> Views:
    """The views under the codes with which their left halves look most like the photographs.

    Args:
      renderer: of the scene.
      scene: that views have codes in, to begin from.
      views: with photographs.
    """
    conditions = views.cameras.conditions
    assert conditions is not None
    fit = _Fit(renderer, scene, views)
    codes = np.stack([fit(view) for view in range(len(views))])
    cameras = views.cameras.under({**conditions, "appearance": codes})
    return dataclasses.replace(views, cameras=cameras)


class _Fit:
    """Fits codes; compiled once for all views."""

    def __init__(self, renderer: SceneRenderer, scene: Scene, views: Views):
        self._renderer = renderer
        self._scene = scene
        self._views = views
        self._gradient = tf.function(self._of_code, reduce_retracing=True)

    def __call__(self, view: int) -> np.ndarray:
        """The code [A] of a view."""
        assert self._views.cameras.conditions is not None
        code = keras.Variable(self._views.cameras.conditions["appearance"][view])
        counting = left_half(self._views)
        if self._views.masks is not None:
            counting = counting & self._views.masks[view]
        pixels = np.flatnonzero(counting)
        random = np.random.default_rng(view)
        adam = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(_RATE, _NUM_STEPS))
        for _ in range(_NUM_STEPS if len(pixels) else 0):
            rays, colors = self._rays(view, random.choice(pixels, _RAYS_PER_STEP))
            adam.apply([self._gradient(rays, colors, code.value)], [code])
        fitted: np.ndarray = code.numpy()
        return fitted

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
