"""Training with a grid of densities, whose box shrinks while planes grow."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import (
    learning_planes_config,
    small_config,
    small_planes_config,
    small_scene,
    small_scene_under,
)
from trainers import assert_close, one_device, two_devices, weights

from tfnerf.scenes import Scene, load_scene
from tfnerf.settings import Config
from tfnerf.train.trainer import Trainer


def state_of(trainer: Trainer) -> list[keras.Variable]:
    """All that a checkpoint holds."""
    return [*trainer.model.variables, *trainer.optimizer.variables]


def run_to(trainer: Trainer, last: int) -> Trainer:
    """Steps until `last` are done, refined where that is due."""
    while trainer.step < last:
        changes = [step for step in (6, 12, last) if step > trainer.step]
        trainer.run(min(changes) - trainer.step)
        if trainer.refines_now:
            trainer = trainer.refined()
    return trainer


def test_a_refined_trainer_copies_no_pixels() -> None:
    """With each copy the memory of a run would grow by that of all photographs."""
    trainer = one_device(small_scene(), small_planes_config(refine_steps="2,4"))
    trainer.run(2)
    assert trainer.refined()._batches.pixels is trainer._batches.pixels


CONDITIONED = {"time_model": "deform", "relightable": True, "appearance_width": 3}
ON_A_GRID = {
    "sampler": "grid",
    "num_coarse_samples": 64,
    "num_fine_samples": 128,
    "refine_steps": "6,12",
    "grid_resolution": 48,
}
FIELDS_ON_A_GRID = {
    "planes": small_planes_config(
        sparsity_weight=0.1, smoothness_weight=0.01, distortion_weight=0.01
    ),
    "mlp": small_config(**ON_A_GRID),
    "planes under conditions": small_planes_config(
        **CONDITIONED,
        shadow_hints=True,
        highlights=True,
        colors_per_ray=2,
        learning_rate_decay="cosine",
        learning_rate_decay_steps=20,
        time_resolution=3,
        grid_times=2,
        time_smoothness_weight=0.1,
    ),
    "mlp under conditions": small_config(**ON_A_GRID, **CONDITIONED, grid_times=2),
}


def scene_for(config: Config) -> Scene:
    """With the times and lights that the settings use."""
    return small_scene_under("time", "light") if config.scene.relightable else small_scene()


@pytest.mark.slow
@pytest.mark.parametrize("field", FIELDS_ON_A_GRID)
def test_from_any_step_it_goes_on_as_if_it_had_never_stopped(field: str) -> None:
    """Before, at and after steps at which the box shrinks and planes become finer."""
    config = FIELDS_ON_A_GRID[field]
    scene = scene_for(config)
    whole = one_device(scene, config)
    states = {}
    for stop in (6, 9, 20):
        whole = run_to(whole, stop)
        states[stop] = [variable.numpy() for variable in state_of(whole)]
    for stop in (6, 9):
        resumed = Trainer(scene, config, tf.distribute.get_strategy(), step=stop)
        for variable, value in zip(state_of(resumed), states[stop], strict=True):
            variable.assign(value)
        resumed = run_to(resumed, 20)
        for variable, value in zip(state_of(resumed), states[20], strict=True):
            np.testing.assert_array_equal(variable.numpy(), value)


@pytest.mark.slow
@pytest.mark.parametrize("field", FIELDS_ON_A_GRID)
def test_two_devices_train_on_a_grid_like_one(field: str) -> None:
    config = FIELDS_ON_A_GRID[field]
    scene = scene_for(config)
    one, two = (run_to(make(scene, config), 14) for make in (one_device, two_devices))
    assert one.rays_per_step == two.rays_per_step
    for a, b in zip(one.model.variables, two.model.variables, strict=True):
        if a.dtype == "bool":
            assert (a.numpy() == b.numpy()).mean() > 0.99
        elif config.scene.time_model == "deform":
            # Nothing moves at first: gradients of what moves are rounding, which Adam enlarges.
            assert np.isclose(a.numpy(), b.numpy(), atol=3e-2).mean() > 0.99
        else:
            np.testing.assert_allclose(a.numpy(), b.numpy(), atol=2e-3)
    rtol = 5e-2 if config.scene.time_model == "deform" else 1e-2
    assert_close(one.run(1), two.run(1), rtol)


def test_a_run_without_a_grid_goes_on_as_it_began() -> None:
    """At the steps at which others become finer, too."""
    scene, config = small_scene(), small_config()
    assert config.training.refined_at[0] == 500
    begun, resumed = (
        Trainer(scene, config, tf.distribute.get_strategy(), step=step) for step in (0, 600)
    )
    for trainer in (begun, resumed):
        trainer.optimizer.variables[0].assign(600)
        trainer.run(2)
    np.testing.assert_array_equal(weights(begun), weights(resumed))


def test_planes_grow_and_their_box_shrinks_at_the_steps_that_say_so() -> None:
    trainer = one_device(small_scene(), small_planes_config())
    assert trainer.extent["resolution"] == 8
    before = trainer.model.grid.box.corners.numpy()
    finer = run_to(trainer, 6)
    assert finer.step == 6 and finer.extent["resolution"] == round(8 * 2**0.5)
    assert finer.rays_per_step == 2 * trainer.rays_per_step
    after = finer.model.grid.box.corners.numpy()
    assert (after[0] >= before[0]).all() and (after[1] <= before[1]).all()
    np.testing.assert_array_equal(finer.model.final.box.corners, after)
    assert run_to(finer, 12).extent["resolution"] == 16


def test_a_grid_learns_a_disc() -> None:
    config = small_planes_config(refine_steps="40,80", batch_size=128, learning_rate=1e-3)
    trainer = one_device(small_scene(), config)
    first = trainer.run(1).statistics.losses["final"]
    while trainer.step < 120:
        trainer.run(min(step for step in (40, 80, 120) if step > trainer.step) - trainer.step)
        if trainer.refines_now:
            trainer = trainer.refined()
    assert trainer.run(1).statistics.losses["final"] < 0.1 * first


@pytest.mark.slow
def test_no_seed_collapses() -> None:
    """Into pictures of nothing but the background, as the original's networks do now and then."""
    config = learning_planes_config(white_background=True, refine_steps="50")
    scene = load_scene(config.scene, ("train",))
    for seed in range(20):
        trainer = one_device(scene, config.replaced(seed=seed))
        trainer.run(50)
        statistics = trainer.refined().run(50).statistics
        assert statistics.loss < 0.4 * statistics.blank_error, f"seed {seed}"
