"""What a run writes and warns of."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.files import make_folder
from tfnerf.runs.folder import RunFolder
from tfnerf.train.report import TrainingReport
from tfnerf.train.trainer import BatchStatistics, Progress


def progress(num_steps: int = 10, final: float = 0.01, **changes: Any) -> Progress:
    """Steps whose average statistics are the given ones."""
    values = {"loss": 0.02, "blank_error": 0.1, "contrast": 0.1, "live_rays": 8.0}
    values |= {"not_finite": 0.0, **changes}
    mean = BatchStatistics(**{"losses": {"final": final, "coarse": 0.01}, **values})
    sums = tf.nest.map_structure(lambda value: num_steps * value, mean)
    return Progress(num_steps, 32 * num_steps, sums, 0.1, False)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run")
    make_folder(run.renders)
    return run


def lines(folder: RunFolder) -> list[dict]:
    return [json.loads(line) for line in folder.metrics_log.read_text().splitlines()]


def test_a_line_averages_the_steps_since_the_one_before(folder: RunFolder) -> None:
    with TrainingReport(folder, 0, 100) as report:
        report.add(progress(10, final=0.01), seconds=1.0)
        report.add(progress(30, final=0.03), seconds=3.0)
        report.write(40, learning_rate=1e-3, extent={})
        report.add(progress(10, final=0.1), seconds=0.5)
        report.write(50, learning_rate=1e-4, extent={})
    first, second = lines(folder)
    assert first["step"] == 40 and second["step"] == 50
    np.testing.assert_allclose(first["psnr"], -10 * np.log10(0.025), rtol=1e-6)
    np.testing.assert_allclose(second["psnr"], 10, rtol=1e-6)
    np.testing.assert_allclose(first["rays_per_second"], 40 * 32 / 4)
    np.testing.assert_allclose(second["rays_per_second"], 10 * 32 / 0.5)
    assert second["learning_rate"] == 1e-4


def test_a_line_says_how_fine_the_field_is_and_how_much_is_left_out(folder: RunFolder) -> None:
    with TrainingReport(folder, 0, 100) as report:
        report.add(progress(10), seconds=1.0)
        report.write(10, learning_rate=1e-3, extent={"resolution": 64, "occupied_share": 0.25})
    (line,) = lines(folder)
    assert (line["live_rays"], line["resolution"], line["occupied_share"]) == (8, 64, 0.25)


def test_terms_of_the_loss_are_written_by_their_names(folder: RunFolder) -> None:
    """An error as a PSNR, what is no error as it is."""
    with TrainingReport(folder, 0, 100) as report:
        report.add(progress(10, losses={"final": 0.01, "coarse": 0.1, "tv": 0.5}), seconds=1.0)
        report.write(10, learning_rate=1e-3, extent={})
    (line,) = lines(folder)
    np.testing.assert_allclose([line["psnr_coarse"], line["loss_tv"]], [10, 0.5], rtol=1e-6)
    assert "psnr_tv" not in line


def test_pictures_are_files_too(folder: RunFolder) -> None:
    sheet = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    with TrainingReport(folder, 0, 100) as report:
        report.show(20, "held_out", sheet)
    np.testing.assert_array_equal(imageio.imread(folder.renders / "held_out_00000020.png"), sheet)


def test_a_collapsed_run_is_warned_of_once(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, "tfnerf"),
        TrainingReport(folder, 0, 2000) as report,
    ):
        for step in (100, 600, 700):
            report.add(progress(contrast=1e-6), seconds=1.0)
            report.write(step, learning_rate=1e-3, extent={})
    assert len(caplog.records) == 1
    assert "step 600: every ray shows the background" in caplog.text
    assert "--center_crop_steps=500" in caplog.text


@pytest.mark.parametrize("healthy", [{"contrast": 0.05}, {"contrast": 0.0, "blank_error": 1e-5}])
def test_a_run_that_shows_something_or_has_nothing_to_show_is_not(
    folder: RunFolder, caplog: pytest.LogCaptureFixture, healthy: dict[str, float]
) -> None:
    with (
        caplog.at_level(logging.WARNING, "tfnerf"),
        TrainingReport(folder, 0, 2000) as report,
    ):
        report.add(progress(**healthy), seconds=1.0)
        report.write(1000, learning_rate=1e-3, extent={})
    assert not caplog.records


def test_curves_that_cannot_be_written_are_one_line(folder: RunFolder) -> None:
    folder.tensorboard.write_text("a file where a folder should be")
    with pytest.raises(UserError, match="tensorboard: cannot be written: "):
        TrainingReport(folder, 0, 100)


@pytest.mark.parametrize("cut", ["", '{"step": 1', '{"step": 15}'])
def test_lines_of_steps_to_be_done_again_are_dropped(folder: RunFolder, cut: str) -> None:
    """So is a last line that a kill cut, were it only of its end."""
    for step in (10, 20, 30):
        folder.append_metrics({"step": step})
    with open(folder.metrics_log, "a") as file:
        file.write(cut)
    folder.drop_metrics_after(20)
    folder.append_metrics({"step": 25})
    assert [line["step"] for line in lines(folder)] == [10, 20, 25]
