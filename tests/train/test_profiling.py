"""Profiles of some steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from small import small_config, small_scene

from tfnerf.errors import UserError
from tfnerf.files import make_folder
from tfnerf.runs.folder import RunFolder
from tfnerf.settings import Config, TrainingSettings
from tfnerf.train.loop import _steps_until_due, train


def weights(folder: RunFolder) -> dict[str, np.ndarray]:
    path = folder.checkpoints / "step_00000010" / "checkpoint"
    reader = tf.train.load_checkpoint(str(path))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith("VALUE")]
    return {name: reader.get_tensor(name) for name in names}


@pytest.mark.slow
def test_a_profile_of_some_steps_is_written_and_changes_nothing_else(tmp_path: Path) -> None:
    results = []
    for steps in ("", "3,7"):
        config = small_config(num_steps=10, profile_steps=steps, num_eval_views=0)
        folder = RunFolder(tmp_path / f"run_{len(steps)}")
        make_folder(folder.renders)
        train(config, small_scene(), folder, tf.distribute.get_strategy())
        results.append(weights(folder))
        assert bool(list(folder.path.rglob("*.xplane.pb"))) == bool(steps)
    assert results[0].keys() == results[1].keys()
    for name, values in results[0].items():
        np.testing.assert_array_equal(values, results[1][name])


def test_calls_end_where_a_profile_begins_or_ends() -> None:
    config = Config().replaced(profile_steps="5,9", eval_every=0, log_every=12, num_steps=30)
    found = [_steps_until_due(step, config) for step in (0, 4, 5, 8, 9, 20)]
    assert found == [5, 1, 4, 1, 3, 4]


@pytest.mark.parametrize("steps", ["5", "7,5", "5,5", "a,b", "-1,4", "1,2,3"])
def test_steps_that_cannot_be_are_refused(steps: str) -> None:
    with pytest.raises(UserError, match=f"--profile_steps={steps}: expected two whole numbers"):
        TrainingSettings(profile_steps=steps)
