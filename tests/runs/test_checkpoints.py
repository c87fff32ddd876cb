"""Checkpoints: complete or absent, with a fallback."""

from __future__ import annotations

import logging
from pathlib import Path

import keras
import numpy as np
import pytest
from small import small_model

from tfnerf.errors import UserError
from tfnerf.runs.checkpoints import Checkpoints, list_checkpoints, step_of


class Run:
    """Networks and optimizer, and their checkpoints."""

    def __init__(self, folder: Path):
        self.model = small_model(net_width=8)
        self.optimizer = keras.optimizers.Adam()
        self.optimizer.build(self.model.trainable_variables)
        self.checkpoints = Checkpoints(folder)
        self.variables = {"model": self.model.variables, "optimizer": self.optimizer.variables}

    def save(self, step: int, keep: int) -> Path:
        return self.checkpoints.save(step, self.variables, keep)

    def restore(self) -> int | None:
        return self.checkpoints.restore_newest(lambda step: self.variables)

    def step(self) -> None:
        gradients = [np.full(v.shape, 0.1, np.float32) for v in self.model.trainable_variables]
        self.optimizer.apply(gradients, self.model.trainable_variables)

    def state(self) -> list[np.ndarray]:
        return [v.numpy() for v in (*self.model.variables, *self.optimizer.variables)]


def assert_same(one: Run, other: Run) -> None:
    assert len(one.state()) == len(other.state())
    for a, b in zip(one.state(), other.state()):
        np.testing.assert_array_equal(a, b)


def test_restored_run_has_all_weights_and_the_optimizer(tmp_path: Path) -> None:
    run, other = Run(tmp_path), Run(tmp_path)
    assert other.restore() is None
    run.step()
    run.save(1, keep=3)
    assert other.restore() == 1
    assert int(other.optimizer.iterations) == 1
    assert_same(run, other)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step in (5, 90, 100, 1000):
        run.save(step, keep=2)
    assert [step_of(path) for path in list_checkpoints(tmp_path)] == [100, 1000]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_00000100", "step_00001000"]


def test_a_damaged_later_checkpoint_costs_no_good_one(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.save(80, keep=1)
    for file in files_of(run.save(100, keep=2)):
        file.write_bytes(b"damaged")
    run.save(90, keep=1)
    assert run.restore() == 90


def test_saving_the_same_step_again_replaces_it(tmp_path: Path) -> None:
    run, other = Run(tmp_path), Run(tmp_path)
    run.save(7, keep=2)
    run.step()
    run.save(7, keep=2)
    assert other.restore() == 7
    assert_same(run, other)


def files_of(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file())


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove"])
@pytest.mark.parametrize("file", [0, 1])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str, file: int
) -> None:
    run, other = Run(tmp_path), Run(tmp_path)
    run.save(1, keep=3)
    before = run.state()
    run.step()
    newest = run.save(2, keep=3)
    path = files_of(newest)[file]
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "truncate":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING, "tfnerf"):
        assert other.restore() == 1
    assert "step_00000002: damaged checkpoint" in caplog.text
    for a, b in zip(before, other.state()):
        np.testing.assert_array_equal(a, b)


def test_no_readable_checkpoint_is_an_error_and_not_a_fresh_start(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for file in files_of(run.save(1, keep=3)):
        file.write_bytes(b"")
    with pytest.raises(UserError, match="none of the 1 checkpoints can be read"):
        run.restore()


def test_a_checkpoint_of_other_networks_is_not_taken(tmp_path: Path) -> None:
    Run(tmp_path).save(1, keep=3)
    variables = {"model": small_model(net_depth=4, net_width=8).variables, "optimizer": []}
    with pytest.raises(UserError, match="none of the 1 checkpoints"):
        Checkpoints(tmp_path).restore_newest(lambda step: variables)


def test_variables_are_made_for_the_step_that_is_restored(tmp_path: Path) -> None:
    """Shapes may depend on the step, so each checkpoint that is tried is asked for its own."""
    checkpoints = Checkpoints(tmp_path)

    def grown(step: int) -> dict:
        return {"model": [keras.Variable(np.full([step], float(step)), name="grown")]}

    for step in (2, 5):
        newest = checkpoints.save(step, grown(step), keep=3)
    restored = {}

    def variables_at(step: int) -> dict:
        restored[step] = {"model": [keras.Variable(np.zeros([step]), name="grown")]}
        return restored[step]

    assert checkpoints.restore_newest(variables_at) == 5
    np.testing.assert_array_equal(restored[5]["model"][0], np.full([5], 5.0))
    for file in files_of(newest):
        file.write_bytes(b"damaged")
    assert checkpoints.restore_newest(variables_at) == 2
    np.testing.assert_array_equal(restored[2]["model"][0], np.full([2], 2.0))


def test_what_a_killed_run_left_is_swept_and_never_restored(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.save(1, keep=3)
    (tmp_path / ".step_00000002").mkdir()
    (tmp_path / ".step_00000002" / "checkpoint.index").write_bytes(b"half")
    run.checkpoints.remove_unfinished()
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]
    assert run.restore() == 1


def test_a_failed_save_leaves_the_others(tmp_path: Path) -> None:
    """A file stands where the folder would be written."""
    run = Run(tmp_path)
    run.save(1, keep=3)
    (tmp_path / ".step_00000002").write_text("in the way")
    with pytest.raises(UserError, match="step_00000002: the checkpoint cannot be written"):
        run.save(2, keep=3)
    assert run.restore() == 1
