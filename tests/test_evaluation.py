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
from skimage.metrics import structural_similarity
from small import small_config
from trained import STEP, make_run, save

from tfnerf.config import read_flagfile
from tfnerf.errors import UserError
from tfnerf.models import NeRF
from tfnerf.published import PAPER_CONFIGS, differences, published_row
from tfnerf.result_tables import comparison_table, difference_note, result_table
from tfnerf.run_folder import RunFolder
from tfnerf.settings import SceneSettings
from tfnerf.split_evaluation import evaluate_split, read_evaluation
from tfnerf.trained_run import TrainedRun

CONFIGS = Path(__file__).parents[1] / "configs"


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
    renderer = run.renderer(scene)
    for index, view in enumerate(content["views"]):
        rendered = np.clip(renderer(scene.splits["test"].cameras, index).rgb, 0, 1)
        saved = imageio.imread(folder / f"{view['name']}.png") / 255
        assert view["psnr"] == pytest.approx(numpy_psnr(rendered, truth[index]), abs=1e-4)
        assert view["ssim"] == pytest.approx(skimage_ssim(rendered, truth[index]), abs=1e-4)
        assert view["published_psnr"] == pytest.approx(numpy_psnr(saved, truth[index]), abs=1e-4)
        assert view["published_ssim"] == pytest.approx(skimage_ssim(saved, truth[index]), abs=1e-4)
        np.testing.assert_array_equal(255 * saved, np.floor(255 * rendered))
    for name, mean in content["mean"].items():
        assert mean == pytest.approx(np.mean([view[name] for view in content["views"]]))


def test_an_evaluation_is_done_again_only_for_other_weights(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    evaluate_split(TrainedRun.load(str(folder)), "test")
    pictures = folder / "eval" / "test"
    before = {path.name: path.stat().st_mtime_ns for path in pictures.glob("*.png")}
    assert len(before) == 3 * 6

    evaluate_split(TrainedRun.load(str(folder), rays_per_chunk=77), "test")
    assert {path.name: path.stat().st_mtime_ns for path in pictures.glob("*.png")} == before

    (pictures / "test_002_depth.png").unlink()
    evaluate_split(TrainedRun.load(str(folder)), "test")
    after = {path.name: path.stat().st_mtime_ns for path in pictures.glob("*.png")}
    assert {name for name in before if before[name] != after[name]} == {
        f"test_002{kind}.png" for kind in ("", "_depth", "_error")
    }

    config = small_config()
    save(folder, NeRF.from_settings(config.network, with_fine=True), STEP + 1)
    content = evaluate_split(TrainedRun.load(str(folder)), "test")
    assert content["step"] == STEP + 1
    latest = {path.name: path.stat().st_mtime_ns for path in pictures.glob("*.png")}
    assert all(latest[name] != after[name] for name in after)


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


def test_differences_from_the_paper_are_named() -> None:
    paper = PAPER_CONFIGS["blender"]
    ours = dataclasses.replace(paper, scene=dataclasses.replace(paper.scene, half_res=True))
    assert differences(ours, 1200) == [
        "1200 steps (paper: 500000)",
        "--half_res=true (paper: false)",
    ]
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
        ("deepvoxels", "chair pedestal cube vase", (40.15, 0.991, 0.023)),
    ):
        rows = [published_row(dataset, scene) for scene in scenes.split()]
        np.testing.assert_allclose(np.mean(rows, axis=0), mean, atol=6e-3)
    assert published_row("blender", "fern") is None
