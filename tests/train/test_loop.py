"""What a run does beside its steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf
from small import small_config, small_scene

from tfnerf.files import make_folder
from tfnerf.runs.checkpoints import list_checkpoints, step_of
from tfnerf.runs.folder import RunFolder
from tfnerf.train.loop import TrainingRun, _checksum


def test_workers_may_have_the_scene_in_folders_of_their_own() -> None:
    one, other = (
        small_config(dataset="blender", data_dir=f"/{name}/lego", output_dir=f"/{name}/runs")
        for name in ("a", "b")
    )
    assert _checksum(one) == _checksum(other)


@pytest.mark.parametrize(
    "change",
    [
        {"half_res": True},
        {"near": 1.5},
        {"white_background": True},
        {"net_width": 17},
        {"num_fine_samples": 9},
        {"seed": 2},
    ],
)
def test_all_that_changes_results_has_to_be_alike(change: dict) -> None:
    config = small_config(dataset="blender", data_dir="/a/lego")
    assert _checksum(config) != _checksum(config.replaced(**change))


@pytest.mark.parametrize(("minutes", "saved_before"), [(1e-9, True), (60.0, False), (0.0, False)])
def test_checkpoints_are_saved_by_time_too(
    tmp_path: Path, minutes: float, saved_before: bool
) -> None:
    config = small_config(num_steps=3, checkpoint_every=1000, checkpoint_minutes=minutes)
    folder = RunFolder(tmp_path)
    make_folder(folder.renders)
    TrainingRun(config, small_scene(), folder, tf.distribute.get_strategy()).train()
    steps = [step_of(path) for path in list_checkpoints(folder.checkpoints)]
    assert steps[-1] == 3
    assert (len(steps) > 1) == saved_before
