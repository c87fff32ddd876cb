"""A field, a sampler and a condition that the project does not have, through all of it.

Each is a file of its own (`tests/parts`) and one name in the settings.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import tensorflow as tf
from commands import start, wait_until_serving
from parts import sphere_field, uniform_sampler
from small import TRAINING, small_scene

from export.exporting import export
from serving.client.rendering import RenderClient
from serving.server.servable import Servable
from tfnerf.evaluate.split import evaluate_split
from tfnerf.fields.model import NeRF
from tfnerf.flags import to_flagfile
from tfnerf.mesh.build import build_mesh
from tfnerf.runs.folder import RunFolder
from tfnerf.runs.trained import TrainedRun
from tfnerf.scenes import Scene
from tfnerf.settings import Config, RenderSettings
from tfnerf.train.loop import train
from tfnerf.train.trainer import Trainer
from tfnerf.volume.image_renderer import ImageRenderer

PARTS = {"field": "sphere", "sampler": "uniform"}

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two files where a kind of that name belongs, and the names where kinds are listed."""
    monkeypatch.setitem(sys.modules, "tfnerf.fields.sphere", sphere_field)
    monkeypatch.setitem(sys.modules, "tfnerf.volume.samplers.uniform", uniform_sampler)
    monkeypatch.setattr("tfnerf.settings.network.FieldKind", Literal["mlp", "sphere"])
    monkeypatch.setattr("tfnerf.settings.rendering.SamplerKind", Literal["hierarchical", "uniform"])


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Views at different times, of which the data sets of the project know nothing yet."""
    scene = small_scene()
    views = scene.train
    cameras = dataclasses.replace(
        views.cameras, conditions={"time": np.float32([0.0, 0.2, 0.4, 0.6])}
    )
    timed = dataclasses.replace(views, cameras=cameras)
    scene = dataclasses.replace(scene, splits={"train": timed, "test": timed.select([1, 2])})
    monkeypatch.setattr("tfnerf.runs.trained.load_scene", lambda *_: scene)
    return scene


def config_of(**changes: Any) -> Config:
    rendering = RenderSettings(density_noise_std=0.1, jit_compile="off")
    config = Config(rendering=rendering, training=TRAINING)
    return config.replaced(**{**PARTS, "num_steps": 12, "learning_rate": 0.05, **changes})


def trained(scene: Scene, folder: Path, **changes: Any) -> TrainedRun:
    config = config_of(output_dir=str(folder.parent), experiment=folder.name, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "renders").mkdir(exist_ok=True)
    (folder / "flags.txt").write_text(to_flagfile(config))
    train(config, scene, RunFolder(folder), tf.distribute.get_strategy())
    return TrainedRun.load(str(folder))


def test_it_learns_and_a_resumed_run_equals_one_that_never_stopped(
    scene: Scene, tmp_path: Path
) -> None:
    whole = trained(scene, tmp_path / "whole")
    assert isinstance(whole.model, NeRF) and whole.model.fine is None
    trained(scene, tmp_path / "parts", num_steps=5)
    resumed = trained(scene, tmp_path / "parts")
    for one, other in zip(whole.model.get_weights(), resumed.model.get_weights()):
        np.testing.assert_array_equal(one, other)
    losses = [
        json.loads(line)["loss"]
        for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
        if "loss" in json.loads(line)
    ]
    assert losses[-1] < losses[0]
    content = evaluate_split(whole, "test")
    assert content["mean"]["psnr"] > 5


def test_groups_of_weights_learn_at_rates_of_their_own(scene: Scene) -> None:
    """As two Adams that know nothing of each other: the first step of Adam is its rate."""
    trainer = Trainer(scene, config_of(), tf.distribute.get_strategy())
    before = [variable.numpy() for variable in trainer.optimizer.trained]
    trainer.run(1)
    moved = [
        np.abs(variable.numpy() - old) for variable, old in zip(trainer.optimizer.trained, before)
    ]
    np.testing.assert_allclose(moved[0], 0.025, rtol=1e-3)
    np.testing.assert_allclose(moved[1], 0.05, rtol=1e-3)
    assert float(trainer.model.coarse.hardness[0]) == 5.0


def test_pictures_and_meshes_depend_on_the_condition(scene: Scene, tmp_path: Path) -> None:
    run = trained(scene, tmp_path / "run")
    images = ImageRenderer(run.renderer(scene), run.config.rendering)
    early, late = (images(scene.train.cameras, view) for view in (0, 3))
    assert early.opacity.max() > 1.3 * late.opacity.max()
    mesh = build_mesh(
        run.renderer(scene),
        scene,
        resolution=16,
        threshold=1.0,
        conditions={"time": np.zeros(1, np.float32)},
    )
    assert len(mesh.faces) > 0


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_export_takes_the_condition_and_keeps_variables_that_do_not_learn(
    scene: Scene, tmp_path: Path, dtype: str
) -> None:
    run = trained(scene, tmp_path / "run")
    path = export(run, tmp_path / "model", "ball", dtype=dtype).path
    servable = Servable(path)
    inputs = servable.signatures["serving_default"].inputs
    assert sorted(inputs) == ["directions", "origins", "time"]
    assert sorted(servable.signatures["describe_scene"].inputs) == ["index"]
    rays = scene.train.cameras.rays([0, 1, 3], [6, 6, 6], [8, 8, 8], pixel_centers=True)
    answer = servable.run(
        "serving_default",
        {
            "origins": rays.origins.numpy(),
            "directions": rays.directions.numpy(),
            "time": rays.conditions["time"].numpy(),
        },
    )
    expected = run.renderer(scene).render(rays).final
    tolerance = 1e-5 if dtype == "float32" else 0.02
    np.testing.assert_allclose(answer["rgb"], expected.rgb, atol=tolerance)
    np.testing.assert_allclose(answer["opacity"], expected.opacity, atol=tolerance)
    servable.close()


def test_a_client_sends_the_condition_of_its_cameras(scene: Scene, tmp_path: Path) -> None:
    run = trained(scene, tmp_path / "run")
    export(run, tmp_path / "model", "ball")
    server = start(
        "serving.server", "--model_name=ball", f"--model_base_path={tmp_path / 'model'}", "--port=0"
    )
    try:
        with RenderClient([wait_until_serving(server)], "ball") as client:
            assert client.describe()["conditions"] == {
                "time": {"shape": [], "least": 0.0, "most": pytest.approx(0.6), "num_rows": 4}
            }
            images = ImageRenderer(run.renderer(scene), run.config.rendering)
            for view in (0, 3):
                served = client.render(scene.train.cameras, view)
                own = images(scene.train.cameras, view)
                np.testing.assert_allclose(served.rgb, own.rgb, atol=1e-4)
            _, density = client.query_points(
                np.zeros([2, 3]), np.tile([0, 0, -1], [2, 1]), {"time": [0.0, 0.5]}
            )
            np.testing.assert_allclose(density[1], density[0] / 2, rtol=1e-5)
            with pytest.raises(ValueError, match=r"found time \[3\]; expected 2 rows"):
                client.query_points(np.zeros([2, 3]), np.ones([2, 3]), {"time": [0, 0, 0]})
    finally:
        server.kill()
        shutil.rmtree(tmp_path / "model")
