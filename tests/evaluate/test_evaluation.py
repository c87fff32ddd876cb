"""Evaluation against independent computations, and the tables made of it."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from commands import ROOT
from skimage.metrics import structural_similarity
from small import small_config, small_model
from trained import STEP, make_run, save

from tfnerf.errors import UserError
from tfnerf.evaluate.metrics import psnr_of
from tfnerf.evaluate.published import PAPER_CONFIGS, differences, published_row
from tfnerf.evaluate.split import evaluate_split, read_evaluation
from tfnerf.evaluate.tables import comparison_table, difference_note, result_table
from tfnerf.files import sole_writer
from tfnerf.flags import read_flagfile
from tfnerf.geometry.paths import orbit_pose
from tfnerf.geometry.poses import to_4x4
from tfnerf.runs.folder import RunFolder
from tfnerf.runs.trained import TrainedRun
from tfnerf.settings import Config, SceneSettings

CONFIGS = ROOT / "configs"


def numpy_psnr(image: np.ndarray, truth: np.ndarray) -> float:
    return float(10 * np.log10(1 / np.square(image.astype(np.float64) - truth).mean()))


def skimage_ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """With the window of Wang et al., which tf.image.ssim has too."""
    return float(
        structural_similarity(
            image.astype(np.float64),
            truth.astype(np.float64),
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=1.0,
            channel_axis=-1,
        )
    )


def builtin_truth(run: TrainedRun) -> np.ndarray:
    """The built-in scene's test views on white, [V, H, W, 3]."""
    rgba = run.scene(["test"]).splits["test"].images / 255
    return rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]


def tiny_nerf_truth(path: Path) -> np.ndarray:
    return np.load(path / "tiny_nerf_data.npz")["images"][100:]


@pytest.mark.parametrize("dataset", ["builtin", "tiny_nerf"])
def test_metrics_equal_an_independent_computation(
    dataset: str, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    if dataset == "builtin":
        config = small_config(white_background=True)
    else:
        config = small_config(dataset=dataset, data_dir=str(real_data("tiny_nerf")))
    run = TrainedRun.load(str(make_run(tmp_path / "run", config)))
    truth = builtin_truth(run) if dataset == "builtin" else tiny_nerf_truth(real_data("tiny_nerf"))
    evaluate_split(run, "test")

    folder = tmp_path / "run" / "eval" / "test"
    content = json.loads((folder / "metrics.json").read_text())
    assert (content["step"], content["split"], len(content["views"])) == (STEP, "test", len(truth))
    scene = run.scene(["test"])
    renderer = run.image_renderer(scene)
    for index, view in enumerate(content["views"]):
        rendered = np.clip(renderer(scene.splits["test"].cameras, index).rgb, 0, 1)
        saved = imageio.imread(folder / f"{view['name']}.png") / 255
        for kind in ("depth", "error"):
            assert imageio.imread(folder / kind / f"{view['name']}.png").shape == saved.shape
        assert view["psnr"] == pytest.approx(numpy_psnr(rendered, truth[index]), abs=1e-4)
        assert view["ssim"] == pytest.approx(skimage_ssim(rendered, truth[index]), abs=1e-4)
        assert view["published_psnr"] == pytest.approx(numpy_psnr(saved, truth[index]), abs=1e-4)
        assert view["published_ssim"] == pytest.approx(skimage_ssim(saved, truth[index]), abs=1e-4)
        np.testing.assert_array_equal(255 * saved, np.floor(255 * rendered))
    for name, mean in content["mean"].items():
        assert mean == pytest.approx(np.mean([view[name] for view in content["views"]]))


def test_depths_are_written_where_they_are_asked_for(tmp_path: Path) -> None:
    run = TrainedRun.load(str(make_run(tmp_path / "run")))
    evaluate_split(run, "test")
    folder = tmp_path / "run" / "eval" / "test" / "world_depth"
    assert not folder.exists()
    content = evaluate_split(run, "test", world_depth=True)
    assert content["world_depth_per_level"] > 0
    moved = run.model.final.trainable_variables[-1]
    moved.assign(moved + 5.0)
    before = np.load(folder / f"{content['views'][0]['name']}.npy")
    evaluate_split(run, "test")
    content = evaluate_split(run, "test", world_depth=True)
    assert not np.array_equal(before, np.load(folder / f"{content['views'][0]['name']}.npy"))
    for view in content["views"]:
        depth = np.load(folder / f"{view['name']}.npy")
        levels = imageio.imread(folder / f"{view['name']}.png")
        assert depth.shape == levels.shape


def times(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.png")
    }


@pytest.mark.slow
def test_an_evaluation_is_done_again_only_for_other_weights(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    evaluate_split(TrainedRun.load(str(folder)), "test")
    pictures = folder / "eval" / "test"
    before = times(pictures)
    assert len(before) == 3 * 6

    evaluate_split(TrainedRun.load(str(folder), rays_per_chunk=77), "test")
    assert times(pictures) == before

    (pictures / "depth" / "test_002.png").unlink()
    (pictures / ".test_001.png.123.unfinished").write_text("left by a kill")
    evaluate_split(TrainedRun.load(str(folder)), "test")
    after = times(pictures)
    assert {name for name in before if before[name] != after[name]} == {
        f"{kind}test_002.png" for kind in ("", "depth/", "error/")
    }
    assert not list(pictures.glob(".*"))

    save(folder, small_model(), STEP + 1)
    content = evaluate_split(TrainedRun.load(str(folder)), "test")
    assert content["step"] == STEP + 1
    latest = times(pictures)
    assert all(latest[name] != after[name] for name in after)


def capture(folder: Path, rng: np.random.Generator, names: list[str]) -> Path:
    """A small capture with a transforms.json."""
    frames = []
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(path, rng.integers(0, 256, [12, 16, 3]).astype(np.uint8))
        pose = to_4x4(orbit_pose(index, 0.3, 4.0)).tolist()
        frames.append({"file_path": name, "transform_matrix": pose})
    content = {"camera_angle_x": 0.7, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(content))
    return folder


def test_an_evaluation_is_done_again_for_other_photographs(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    names = [f"{index}.png" for index in range(4)]
    one, other = (capture(tmp_path / name, rng, names) for name in ("one", "other"))
    config = small_config(dataset="transforms", data_dir=str(one), holdout_every=2)
    folder = str(make_run(tmp_path / "run", config))
    first = evaluate_split(TrainedRun.load(folder), "test")["mean"]["psnr"]
    assert evaluate_split(TrainedRun.load(folder), "test")["mean"]["psnr"] == first
    moved = TrainedRun.load(folder, data_dir=str(other))
    assert evaluate_split(moved, "test")["mean"]["psnr"] != first


def test_photographs_of_the_same_name_are_told_apart(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    names = ["left/0.png", "right/0.png", "left/1.png", "right/1.png"]
    data_dir = str(capture(tmp_path / "scene", rng, names))
    config = small_config(dataset="transforms", data_dir=data_dir, holdout_every=1)
    run = TrainedRun.load(str(make_run(tmp_path / "run", config)))
    views = evaluate_split(run, "test")["views"]
    assert len({view["name"] for view in views}) == len({view["psnr"] for view in views}) == 4


def test_weights_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    config, model = small_config(), small_model()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    run = TrainedRun.load(str(make_run(tmp_path / "run", config, model)))
    with pytest.raises(UserError, match="colours that are not finite"):
        evaluate_split(run, "test")
    assert not list(tmp_path.rglob("*.png"))
    assert np.isnan(psnr_of(float("nan")))


def test_two_evaluations_do_not_share_a_folder(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    (folder / "eval" / "test").mkdir(parents=True)
    with (
        sole_writer(folder / "eval" / "test"),
        pytest.raises(UserError, match="another process is writing to it"),
    ):
        evaluate_split(TrainedRun.load(str(folder)), "test")


def test_what_is_no_trained_run_is_refused(tmp_path: Path) -> None:
    for run_dir, message in (
        (tmp_path / "nowhere", "no such folder"),
        (CONFIGS, "found no flags.txt, expected the folder of a run"),
    ):
        with pytest.raises(UserError, match=message):
            TrainedRun.load(str(run_dir))
    folder = make_run(tmp_path / "run")
    text = (folder / "flags.txt").read_text()
    (folder / "flags.txt").write_text(text.replace("--net_width=16", "--net_width=32"))
    with pytest.raises(UserError, match="none of the 1 checkpoints can be read"):
        TrainedRun.load(str(folder))
    (folder / "checkpoints").rename(folder / "elsewhere")
    with pytest.raises(UserError, match="found no checkpoint, expected a trained run"):
        TrainedRun.load(str(folder))


def test_a_split_that_is_not_there_is_refused(tmp_path: Path, real_data: Callable) -> None:
    data_dir = str(real_data("nerf_llff_data/fern"))
    config = small_config(dataset="llff", data_dir=data_dir, factor=8, holdout_every=0)
    run = TrainedRun.load(str(make_run(tmp_path / "run", config)))
    with pytest.raises(UserError, match="--split=test: fern has no such views"):
        evaluate_split(run, "test")


def test_the_paper_settings_are_those_of_the_flagfiles() -> None:
    for name, config in PAPER_CONFIGS.items():
        read = read_flagfile(CONFIGS / "paper" / f"{name}.txt")
        assert dataclasses.replace(read, run=config.run) == config
        assert differences(read, read.training.num_steps) == []


def test_of_another_field_what_differs_is_the_field_and_not_each_of_its_flags() -> None:
    ours = PAPER_CONFIGS["blender"].replaced(resize_straight_alpha=False)
    ours = Config(ours.scene, training=ours.training).replaced(
        field="planes", plane_resolution=200, num_samples=8
    )
    assert differences(ours, 500_000) == [
        "--field=planes (paper: mlp)",
        "--sampler=grid (paper: hierarchical)",
    ]


def test_differences_from_the_paper_are_named() -> None:
    paper = PAPER_CONFIGS["blender"]
    ours = dataclasses.replace(paper, scene=dataclasses.replace(paper.scene, half_res=True))
    assert differences(ours, 1200) == [
        "1200 steps (paper: 500000)",
        "--half_res=true (paper: false)",
    ]
    same = dataclasses.replace(
        paper,
        network=dataclasses.replace(paper.network, bottleneck_width=256),
        scene=dataclasses.replace(paper.scene, resize_straight_alpha=False),
    )
    assert differences(same, 500_000) == []
    other = dataclasses.replace(paper, scene=SceneSettings())
    assert differences(other, 1200) == []


LEGO = {
    "step": 1200,
    "scene": "lego",
    "split": "test",
    "mean": {"psnr": 30.0, "ssim": 0.95, "published_psnr": 29.5, "published_ssim": 0.94},
    "views": [{"name": "r_0"}, {"name": "r_1"}],
    "fingerprint": "",
}


def test_a_result_stands_beside_the_paper() -> None:
    lines = result_table(PAPER_CONFIGS["blender"], LEGO, "text").splitlines()
    assert "lego, test: 2 views, step 1200" in lines[0]
    assert lines[2].split() == ["float", "30.00", "0.950"]
    assert lines[3].split()[-2:] == ["29.50", "0.940"]
    assert lines[4].split() == ["paper", "32.54", "0.961", "0.050"]
    assert "1200 steps (paper: 500000)" in difference_note(PAPER_CONFIGS["blender"], LEGO)
    perfect = {**LEGO, "mean": {"psnr": None, "ssim": 1.0}}
    assert result_table(PAPER_CONFIGS["blender"], perfect, "csv").splitlines()[1] == (
        "float,inf,1.000,"
    )
    fox = {**LEGO, "scene": "fox"}
    assert "paper" not in result_table(PAPER_CONFIGS["blender"], fox, "text")
    assert difference_note(PAPER_CONFIGS["blender"], fox) == "fox is not in the paper."


def test_comparisons_as_markdown_and_csv() -> None:
    runs = [("runs/a, b", PAPER_CONFIGS["blender"], LEGO)]
    rows = list(csv.reader(io.StringIO(comparison_table(runs, "csv"))))
    assert dict(zip(*rows)) == {
        "run": "runs/a, b",
        "scene": "lego",
        "step": "1200",
        "views": "2",
        "PSNR": "30.00",
        "SSIM": "0.950",
        "LPIPS": "",
        "PSNR 8-bit": "29.50",
        "SSIM 8-bit": "0.940",
        "LPIPS 8-bit": "",
        "PSNR paper": "32.54",
        "SSIM paper": "0.961",
        "LPIPS paper": "0.050",
    }
    markdown = comparison_table(runs, "markdown").splitlines()
    assert len(markdown) == 3
    assert all(line.startswith("|") and line.count("|") == 14 for line in markdown)


def test_comparing_needs_evaluations(tmp_path: Path) -> None:
    folder = RunFolder(make_run(tmp_path / "run"))
    with pytest.raises(UserError, match=r"found no evaluation; make it with python -m tfnerf"):
        read_evaluation(folder, "test")


def test_numbers_of_the_paper() -> None:
    """Means that the paper gives itself, from its rows."""
    for dataset, scenes, mean in (
        ("blender", "chair drums ficus hotdog lego materials mic ship", (31.01, 0.947, 0.081)),
        ("llff", "room fern leaves fortress orchids flower trex horns", (26.50, 0.811, 0.250)),
        ("deepvoxels", "armchair greek cube vase", (40.15, 0.991, 0.023)),
    ):
        rows = [published_row(SceneSettings(dataset=dataset), scene) for scene in scenes.split()]
        np.testing.assert_allclose(np.mean(rows, axis=0), mean, atol=6e-3)
    assert published_row(SceneSettings(dataset="blender"), "fern") is None
    moving = SceneSettings(dataset="blender", time_model="deform")
    assert published_row(moving, "lego") is None  # D-NeRF's lego is another
