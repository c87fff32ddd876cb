"""What a run does beside its steps."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from commands import ROOT
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


_CHECK_ON_EIGHT = """
import tensorflow as tf
from tfnerf.errors import UserError
from tfnerf.train.loop import _check_same
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 8)
for count in (3, 7, 8):
    strategy = tf.distribute.MirroredStrategy([f"CPU:{index}" for index in range(count)])
    for value in (0, 13_323_674, 200_000, 2**24 + 1, 2**32 - 1, 0xFEDCBA98, 0x01FF7F33):
        _check_same("flags", value, strategy)
    replica = iter(range(count))
    strategy.run = lambda function: strategy.extended.call_for_each_replica(
        lambda: function() + float(next(replica) == 1)
    )
    try:
        _check_same("flags", 77, strategy)
        raise SystemExit(f"{count} replicas with different values pass")
    except UserError as error:
        assert "another value on another worker" in str(error)
"""


@pytest.mark.slow
def test_any_number_of_devices_agrees_on_what_is_alike() -> None:
    """Sums of whole numbers that a float32 has no room for were found to differ."""
    subprocess.run([sys.executable, "-c", _CHECK_ON_EIGHT], check=True, timeout=120, cwd=ROOT)


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
