"""Codes of appearance for photographs that were held out: fitted left, measured right."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from small import small_config, small_scene

from tfnerf.evaluate.appearance import CodeFit
from tfnerf.evaluate.quality import measure_view
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
    truth = (views.images[0] / 255).astype(np.float32)
    fitted = CodeFit(renderer, scene, views)(0)
    before, after = (
        measure_view(views, 0, images(cameras, 0), truth, right_half_only=True).exact.psnr
        for cameras in (views.cameras, fitted)
    )
    assert after > before + 20
    np.testing.assert_allclose(fitted.conditions["appearance"], CODE, atol=0.05)


def test_what_is_fitted_to_is_not_measured() -> None:
    """Whatever stands in the left half; what is masked in the right one does not count either."""
    scene, _, images = learned()
    views = scene.splits["test"]
    masks = np.ones([1, 12, 16], bool)
    masks[:, :, 12:] = False
    image = images(views.cameras, 0)
    truth = image.rgb.copy()
    truth[:, :8] += 0.5
    truth[:, 8:12] += 0.1
    truth[:, 12:] += 0.5
    masked = dataclasses.replace(views, masks=masks)
    found = measure_view(masked, 0, image, truth, right_half_only=True).exact.psnr
    np.testing.assert_allclose(found, 20, atol=1.5)  # but for what clipping takes
