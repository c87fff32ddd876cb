"""Runs that were trained without a grid, looked at through one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from small import learning_planes_config, small_config, small_planes_config
from trained import make_run

from export.exporting import export
from serving.server.servable import Servable
from tfnerf.errors import UserError
from tfnerf.evaluate.grid_cost import measure_cost
from tfnerf.evaluate.split import evaluate_split
from tfnerf.fields.density_grid import DensityGrid
from tfnerf.flags import to_flagfile
from tfnerf.mesh.build import build_mesh
from tfnerf.runs.folder import RunFolder
from tfnerf.runs.trained import TrainedRun
from tfnerf.scenes import load_scene
from tfnerf.settings import Config
from tfnerf.train.loop import train
from tfnerf.volume.survey import coarse_survey, fine_survey

pytestmark = pytest.mark.slow


def trained(folder: Path, config: Config) -> Path:
    """A run folder of the built-in scene."""
    config = config.replaced(
        white_background=True, num_eval_views=0, output_dir=str(folder.parent)
    ).replaced(experiment=folder.name)
    (folder / "renders").mkdir(parents=True)
    (folder / "flags.txt").write_text(to_flagfile(config))
    scene = load_scene(config.scene, ("train",))
    train(config, scene, RunFolder(folder), tf.distribute.get_strategy())
    return folder


@pytest.fixture(scope="module")
def hierarchical(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config(
        num_steps=400,
        net_width=32,
        batch_size=256,
        num_coarse_samples=32,
        num_fine_samples=64,
        density_noise_std=0.0,
        checkpoint_every=400,
        log_every=200,
    )
    return trained(tmp_path_factory.mktemp("runs") / "hierarchical", config)


@pytest.fixture(scope="module")
def on_planes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = learning_planes_config(
        num_steps=120, refine_steps="60,90", checkpoint_every=120, log_every=60
    )
    return trained(tmp_path_factory.mktemp("runs") / "planes", config)


@pytest.fixture(scope="module")
def given_a_grid(hierarchical: Path) -> TrainedRun:
    return TrainedRun.load(str(hierarchical), sampler="grid", num_samples=32)


def test_a_grid_costs_little_and_misses_nothing(given_a_grid: TrainedRun) -> None:
    scene = given_a_grid.scene()
    cost = measure_cost(given_a_grid, scene, scene.held_out)
    assert cost.recall > 0.995  # what little haze there is shows before white
    assert cost.psnr > cost.psnr_exact - 0.1
    assert cost.agreement > 38
    assert cost.speedup > 1
    assert measure_cost(given_a_grid.as_trained, scene, scene.held_out) is None


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A scene that moves, given a grid after training."""
    config = small_config(
        time_model="deform",
        builtin_motion=True,
        num_steps=300,
        net_width=32,
        batch_size=256,
        num_coarse_samples=32,
        num_fine_samples=32,
        density_noise_std=0.0,
        checkpoint_every=300,
        log_every=100,
    )
    folder = trained(tmp_path_factory.mktemp("runs") / "moving", config)
    return TrainedRun.load(str(folder), sampler="grid", num_samples=32)


def test_a_scene_that_moves_is_given_a_grid_that_knows_time(moving: TrainedRun) -> None:
    scene = moving.scene()
    assert len(np.unique(scene.held_out.cameras.conditions["time"])) > 5
    cost = measure_cost(moving, scene, scene.held_out)
    assert cost.recall > 0.99
    assert cost.psnr > cost.psnr_exact - 0.3


def test_its_export_answers_for_unseen_times(moving: TrainedRun, tmp_path: Path) -> None:
    scene = moving.scene(["train"])
    servable = Servable(export(moving, tmp_path / "model", "moving").path)
    rows = np.random.default_rng(0).integers(0, 60, [3, 700])
    rays = scene.train.cameras.rays(*rows, pixel_centers=True)
    rays = rays._replace(conditions={"time": tf.linspace(0.013, 0.987, 700)})
    answer = servable.run(
        "serving_default",
        {
            "origins": rays.origins.numpy(),
            "directions": rays.directions.numpy(),
            "time": rays.conditions["time"].numpy(),
        },
    )
    final = moving.renderer(scene).render(rays).final
    off = np.abs(answer["rgb"] - final.rgb.numpy()).max(-1)
    # Rounding may put a probe on the other side of the border between two cells.
    assert (off > 1e-5).sum() <= 7
    assert final.opacity.numpy().max() > 0.5 and (final.opacity.numpy() == 0).any()


def test_it_becomes_a_mesh_of_each_time(moving: TrainedRun) -> None:
    """Vertices lie where the density is the threshold at their time, not at another."""
    scene, times, threshold = moving.scene(["train"]), (0.0, 0.5), 5.0

    def distance(vertices: np.ndarray, time: float) -> float:
        points = tf.constant(vertices, tf.float32)
        densities, _ = moving.model.final(points, {"time": tf.fill([len(points)], time)})
        return float(np.median(np.abs(densities.numpy() - threshold)))

    for time, other in (times, times[::-1]):
        mesh = build_mesh(
            moving.renderer(scene),
            scene,
            resolution=24,
            threshold=threshold,
            conditions={"time": np.array([time], np.float32)},
        )
        assert distance(mesh.vertices, time) < 0.5 * distance(mesh.vertices, other)


def test_what_a_grid_costs_is_in_metrics_and_description(
    given_a_grid: TrainedRun, tmp_path: Path
) -> None:
    run = given_a_grid
    content = evaluate_split(run, "test")
    assert set(content["grid"]) == {"psnr", "psnr_exact", "agreement", "recall", "speedup"}
    assert "grid" not in evaluate_split(run.as_trained, "test")
    for folder in ("test", "test_grid_32_samples"):  # neither took the place of the other
        assert (run.folder.eval / folder / "metrics.json").is_file()
    path = export(run, tmp_path / "model", "fast").path
    servable = Servable(path)
    answer = servable.run("describe_scene", {"index": np.zeros(1, np.int32)})
    described = json.loads(answer["scene"][0])
    assert described["sampler"] == "grid" and described["num_samples"] == 32
    assert described["grid"]["recall"] > 0.995
    assert "num_coarse_samples" not in described


@pytest.fixture(scope="module")
def served_planes(on_planes: Path, tmp_path_factory: pytest.TempPathFactory) -> Servable:
    model = tmp_path_factory.mktemp("models") / "planes"
    return Servable(export(TrainedRun.load(str(on_planes)), model, "planes").path)


@pytest.mark.parametrize("count", [0, 1, 5, 4097])
def test_an_export_of_planes_answers_any_number_of_rays(
    on_planes: Path, served_planes: Servable, count: int
) -> None:
    run = TrainedRun.load(str(on_planes))
    cameras = run.scene(["train"]).train.cameras
    generator = np.random.default_rng(0)
    rays = cameras.rays(
        generator.integers(0, len(cameras), count),
        generator.integers(0, cameras.height, count),
        generator.integers(0, cameras.width, count),
        pixel_centers=True,
    )
    inputs = {"origins": rays.origins.numpy(), "directions": rays.directions.numpy()}
    answer = served_planes.run("serving_default", inputs)
    final = run.renderer(run.scene(["train"])).render(rays).final
    for name in ("rgb", "opacity", "depth"):
        off = np.abs(answer[name] - getattr(final, name).numpy())
        off = off[:, np.newaxis] if off.ndim == 1 else off
        # Rounding may put a probe on the other side of the border between two cells.
        assert (off > 1e-5).any(-1).sum() <= 0.01 * count
        assert (off < 0.1).all()
    if count > 1000:
        assert final.opacity.numpy().max() > 0.5 and (final.opacity.numpy() == 0).any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_smaller_export_keeps_its_box(on_planes: Path, tmp_path: Path, dtype: str) -> None:
    run = TrainedRun.load(str(on_planes))
    made = export(run, tmp_path / "model", "planes", dtype=dtype)
    assert abs(made.psnr - made.psnr_in_training) < 0.5
    reader = tf.train.load_checkpoint(str(made.path / "variables" / "variables"))
    names = reader.get_variable_to_shape_map()
    kept = [
        reader.get_tensor(name)
        for name in names
        if reader.get_variable_to_dtype_map()[name] == tf.float64
    ]
    corners = run.model.grid.box.corners.numpy()
    assert any(np.array_equal(values, corners) for values in kept)


def test_planes_become_a_mesh(on_planes: Path) -> None:
    run = TrainedRun.load(str(on_planes))
    scene = run.scene(["train"])
    mesh = build_mesh(run.renderer(scene), scene, resolution=24, threshold=5.0)
    assert len(mesh.faces) > 50


def test_a_survey_finds_what_the_field_holds(hierarchical: Path) -> None:
    run = TrainedRun.load(str(hierarchical))
    box = np.array([[-1.5] * 3, [1.5] * 3])
    grid = DensityGrid(40)
    coarse = coarse_survey(run.model.final, box)
    fine_survey(run.model.final, coarse, grid, coarse.occupied_box(all_pieces=True))
    low, high = grid.box.corners.numpy()
    points = np.random.default_rng(0).uniform(-1.5, 1.5, [20000, 3]).astype(np.float32)
    density = run.model.final(points)[0].numpy()
    dense = points[density * (high - low).max() / 40 > 0.2]
    cells = np.clip(((dense - low) / (high - low) * 40).astype(int), 0, 39)
    inside = ((dense >= low) & (dense < high)).all(-1)
    assert inside.all()
    assert grid.occupied.numpy()[tuple(cells.T)].mean() > 0.98


def test_samplers_that_a_run_does_without_are_refused(tmp_path: Path) -> None:
    hierarchical = str(make_run(tmp_path / "a", small_config()))
    on_grid = str(make_run(tmp_path / "b", small_planes_config()))
    with pytest.raises(UserError, match=r"--sampler=hierarchical: .* has no coarse network"):
        TrainedRun.load(on_grid, sampler="hierarchical")
    with pytest.raises(UserError, match="--num_samples=4: needs --sampler=grid"):
        TrainedRun.load(hierarchical, num_samples=4)
    few = TrainedRun.load(on_grid, num_samples=4)
    assert few.config.rendering.num_samples == 4 and few.suffix == "_4_samples"
    assert TrainedRun.load(on_grid, num_samples=8).suffix == ""  # as in training
    assert TrainedRun.load(on_grid, sampler="grid").as_trained is None
