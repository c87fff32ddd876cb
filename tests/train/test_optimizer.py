"""Adam: how far its steps go after it started anew, in a run that goes on too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from small import small_config, small_scene
from trainers import one_device, weights

from tfnerf.runs.checkpoints import Checkpoints, Variables
from tfnerf.train.loop import variables_of
from tfnerf.train.trainer import Trainer

START = 200_000
"""As of weights that the original released."""


def resumed(folder: Path) -> Trainer:
    """A trainer at the newest checkpoint."""
    trainers = []

    def variables_at(step: int) -> Variables:
        strategy = tf.distribute.get_strategy()
        trainers.append(
            Trainer(small_scene(), small_config(num_steps=300_000), strategy, step=step)
        )
        return variables_of(trainers[-1].model, trainers[-1].optimizer)

    Checkpoints(folder).restore_newest(variables_at)
    return trainers[-1]


def test_it_starts_anew_at_any_step_and_goes_on_as_it_began(tmp_path: Path) -> None:
    """The first step is as long as the learning rate, and not three times as long."""
    trainer = one_device(small_scene(), small_config(num_steps=300_000))
    trainer.optimizer.start_at(START)
    before, rate = weights(trainer), trainer.learning_rate
    trainer.run(1)
    np.testing.assert_allclose(np.abs(weights(trainer) - before).max(), rate, rtol=0.01)
    Checkpoints(tmp_path).save(trainer.step, variables_of(trainer.model, trainer.optimizer), keep=1)
    other = resumed(tmp_path)
    assert other.step == START + 1
    for one in (trainer, other):
        one.run(3)
    np.testing.assert_array_equal(weights(trainer), weights(other))


@pytest.mark.parametrize("step", [3, START])
def test_a_checkpoint_that_does_not_say_where_it_started_is_read(tmp_path: Path, step: int) -> None:
    """Versions up to 0.2.0 saved none."""
    trainer = one_device(small_scene(), small_config())
    trainer.optimizer.start_at(step)
    variables = variables_of(trainer.model, trainer.optimizer)
    del variables["restart"]
    Checkpoints(tmp_path).save(step, variables, keep=1)
    other = resumed(tmp_path)
    assert (other.step, int(other.optimizer.restart.value)) == (step, 0)
    np.testing.assert_array_equal(weights(trainer), weights(other))
