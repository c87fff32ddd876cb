"""Exports of scenes that depend on time, light and appearance."""

from __future__ import annotations

import io

import imageio.v3 as imageio
import keras
import numpy as np
import pytest
import tensorflow as tf
from small import small_config, small_planes_config, small_scene_under

from export.check import check_version
from export.served_scene import ServedScene
from serving.server.servable import Servable
from tfnerf.errors import UserError
from tfnerf.fields.model import make_model
from tfnerf.geometry.cameras import Rays
from tfnerf.runs.appearance import with_codes
from tfnerf.scenes import Scene
from tfnerf.settings import Config
from tfnerf.volume.scene_renderer import SceneRenderer

CONDITIONS = {"time_model": "deform", "relightable": True, "appearance_width": 3}
CONFIGS = {
    "mlp": small_config(**CONDITIONS, rays_per_chunk=1000),
    "planes": small_planes_config(
        **CONDITIONS,
        shadow_hints=True,
        highlights=True,
        colors_per_ray=2,
        grid_times=3,
        rays_per_chunk=1000,
    ),
}


def made(config: Config) -> tuple[SceneRenderer, Scene]:
    keras.utils.set_random_seed(5)
    scene = small_scene_under("time", "light")
    model = make_model(config, num_images=len(scene.train))
    model.place(np.array([[-2.0] * 3, [2.0] * 3]))
    generator = np.random.default_rng(0)
    # Wilder than at first, where nothing moves and planes are transparent.
    spread = 0.3 if model.grid is None else 1.5
    for variable in model.trainable_variables:
        variable.assign(variable + generator.normal(0, spread, variable.shape))
    if model.grid is not None:
        model.grid.fill(model.final)
        model.grid.mark_occupied()
    scene = with_codes(scene, model)
    return SceneRenderer.of(scene, model, config.rendering), scene


@pytest.fixture(scope="module", params=list(CONFIGS))
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Servable, SceneRenderer, Scene]:
    config = CONFIGS[request.param]
    renderer, scene = made(config)
    served = ServedScene(renderer, scene, config.rendering, tf.float32, "{}")
    folder = tmp_path_factory.mktemp("model") / "1"
    tf.saved_model.save(served, str(folder), signatures=served.signatures())
    return Servable(folder), renderer, scene


def some_rays(count: int) -> Rays:
    """From around, under times, lights and codes that no view has."""
    random = np.random.default_rng(count)
    origins = random.normal([0, 0, 4], 0.2, [count, 3])
    directions = random.normal([0, 0, -1], 0.2, [count, 3])
    lights = random.normal(size=[count, 3])
    rows = {
        "time": random.uniform(size=count),
        "light": 1.4 * lights / np.linalg.norm(lights, axis=-1, keepdims=True),
        "appearance": random.normal(0, 0.05, [count, 3]),
    }
    directions = tf.constant(directions, tf.float32)
    return Rays(
        tf.constant(origins, tf.float32),
        directions,
        directions / tf.norm(directions, axis=-1, keepdims=True),
        {name: tf.constant(values, tf.float32) for name, values in rows.items()},
    )


def inputs_of(rays: Rays) -> dict[str, np.ndarray]:
    rows = {name: values.numpy() for name, values in rays.conditions.items()}
    return {"origins": rays.origins.numpy(), "directions": rays.directions.numpy(), **rows}


@pytest.mark.parametrize("count", [0, 1, 7, 2500])
def test_exported_equals_in_process_for_conditions_never_trained(
    exported: tuple, count: int
) -> None:
    servable, renderer, _ = exported
    rays = some_rays(count)
    answer = servable.run("serving_default", inputs_of(rays))
    expected = renderer.render(rays).final
    for name in ("rgb", "opacity"):
        errors = np.abs(answer[name] - getattr(expected, name).numpy())
        assert answer[name].shape == getattr(expected, name).shape
        # Where a sample is at the edge of a bin rounding moves it.
        assert (errors > 1e-5).sum() <= 0.003 * errors.size and errors.max(initial=0) < 5e-2


def test_pictures_and_points_take_conditions_too(exported: tuple) -> None:
    servable, renderer, scene = exported
    rays = some_rays(5)
    rgb, density = renderer.query(rays.origins, rays.viewdirs, rays.conditions)
    rows = {name: values.numpy() for name, values in rays.conditions.items()}
    points = {"points": rays.origins.numpy(), "viewdirs": rays.viewdirs.numpy()}
    answer = servable.run("query_points", {**points, **rows})
    np.testing.assert_allclose(answer["rgb"], rgb, atol=1e-5)
    np.testing.assert_allclose(answer["density"], density, rtol=1e-4, atol=1e-5)
    pose = scene.train.cameras.camera_to_world[[0, 0]]
    picture = {
        "camera_to_world": pose,
        "focal": np.float32([24, 24]),
        "height": np.int32([12, 12]),
        "width": np.int32([16, 16]),
        **{name: values[[0, 3]] for name, values in rows.items()},
    }
    one, other = servable.run("render_view", picture)["image"]
    assert not np.array_equal(*(imageio.imread(io.BytesIO(png)) for png in (one, other)))


def test_light_and_appearance_change_colours_and_no_opacity(exported: tuple) -> None:
    _, renderer, _ = exported
    rays, others = some_rays(300), some_rays(301)
    changed = {name: others.conditions[name][:300] for name in ("light", "appearance")}
    one = renderer.render(rays).final
    other = renderer.render(rays._replace(conditions={**rays.conditions, **changed})).final
    np.testing.assert_allclose(one.opacity, other.opacity, atol=1e-6)
    assert np.abs(one.rgb - other.rgb).max() > 0.01


def test_the_version_is_checked_as_others_are(exported: tuple) -> None:
    servable, renderer, scene = exported
    cameras = scene.train.cameras
    rays = cameras.rays(np.arange(4), [6] * 4, [8] * 4, pixel_centers=True)
    check_version(servable.path, renderer, scene, rays)
    cameras.conditions["time"][:] = 0.5
    with pytest.raises(UserError, match="time: expected a number from"):
        moved = rays._replace(conditions={**rays.conditions, "time": tf.fill([4], 2.0)})
        check_version(servable.path, renderer, scene, moved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time": [0.5, 1.5]}, "time: expected a number from 0 to 1, found"),
        ({"time": [float("nan"), 0.5]}, "time: expected a number from 0 to 1, found"),
        ({"light": [[0, 0, 1.4], [0, 0, 0.01]]}, "light: expected a length from 0.707"),
        ({"light": [[0, 0, 1.4], [0, float("nan"), 1]]}, "light: expected a length from 0.707"),
        ({"appearance": [[0, 0, 0], [9, 9, 9]]}, "appearance: expected a length from 0 to"),
        ({"appearance": [[0, 0], [0, 0]]}, "appearance"),
        ({"time": [0.5]}, "inputs of different lengths"),
        ({"time": None}, "time"),
    ],
)
def test_what_was_not_trained_is_not_answered(exported: tuple, change: dict, message: str) -> None:
    servable, _, _ = exported
    inputs = inputs_of(some_rays(2))
    for name, values in change.items():
        inputs.pop(name, None)
        if values is not None:
            inputs[name] = np.float32(values)
    with pytest.raises(Exception, match=message):
        servable.run("serving_default", inputs)


def test_long_descriptions_are_told_to_fewer_at_a_time() -> None:
    """Or 1000 indices would be gigabytes."""
    config = CONFIGS["planes"]
    text = "x" * (1 << 20)
    served = ServedScene(*made(config), config.rendering, tf.float32, text)
    assert served.describe(tf.range(64))["scene"].shape == [64]
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 64 indices"):
        served.describe(tf.range(65))
