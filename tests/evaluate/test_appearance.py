"""Codes of appearance for photographs that were held out: fitted left, measured right."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from small import small_config, small_scene

from tfnerf.evaluate.appearance import left_half, on_right_half, with_fitted_codes
from tfnerf.evaluate.metrics import psnr
from tfnerf.fields.model import make_model
from tfnerf.runs.appearance import with_codes
from tfnerf.scenes import Scene
from tfnerf.volume.image_renderer import ImageRenderer
from tfnerf.volume.scene_renderer import SceneRenderer

CODE = np.float32([[0.8, -0.6]])
"""That the photograph was taken under, and that the fit is not told."""


def learned() -> tuple[Scene, SceneRenderer, ImageRenderer]:
    """Networks whose colours depend much on the code, and a held-out photograph under one."""
    keras.utils.set_random_seed(2)
    config = small_config(appearance_width=2, density_noise_std=0.0)
    scene = small_scene()
    model = make_model(config, num_images=len(scene.train))
    generator = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + generator.normal(0, 0.4, variable.shape))
    model.codes.rows.assign(generator.normal(0, 0.1, [4, 2]))
    renderer = SceneRenderer.of(scene, model, config.rendering)
    images = ImageRenderer(renderer, config.rendering)
    photograph = images(scene.splits["test"].cameras.under({"appearance": CODE}), 0).rgb
    levels = np.rint(255 * np.clip(photograph, 0, 1)).astype(np.uint8)
    test = dataclasses.replace(scene.splits["test"], images=levels[np.newaxis])
    scene = dataclasses.replace(scene, splits={**scene.splits, "test": test})
    return with_codes(scene, model), renderer, images


def test_training_views_have_their_own_codes_and_others_the_mean() -> None:
    scene, renderer, _ = learned()
    codes = renderer.model.codes.rows.numpy()
    np.testing.assert_array_equal(scene.train.cameras.conditions["appearance"], codes)
    test = scene.splits["test"].cameras.conditions["appearance"]
    np.testing.assert_allclose(test, codes.mean(0, keepdims=True), rtol=1e-6)
    assert scene.conditions["appearance"].named.keys() == set(scene.train.names)


def test_a_code_fitted_to_the_left_half_explains_the_right_one() -> None:
    """20 dB better than the mean code does: it is the code that the photograph was taken under."""
    scene, renderer, images = learned()
    views = scene.splits["test"]
    right = on_right_half(views)
    truth = views.images[0] / 255
    fitted = with_fitted_codes(renderer, scene, views)
    before, after = (
        psnr(np.clip(images(each.cameras, 0).rgb, 0, 1), truth, right.masks[0])
        for each in (views, fitted)
    )
    assert after > before + 20
    np.testing.assert_allclose(fitted.cameras.conditions["appearance"], CODE, atol=0.05)


def test_what_is_fitted_to_is_not_measured() -> None:
    views = small_scene().train
    left = left_half(views)
    assert left[:, :8].all() and not left[:, 8:].any()
    np.testing.assert_array_equal(on_right_half(views).masks, np.tile(~left, [4, 1, 1]))
    masks = np.zeros([4, 12, 16], bool)
    masks[:, :3] = True
    masked = dataclasses.replace(views, masks=masks)
    np.testing.assert_array_equal(on_right_half(masked).masks, ~left & masks)
