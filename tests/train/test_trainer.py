"""The training step."""

from __future__ import annotations

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import small_config, small_planes_config, small_scene, small_scene_under

from tfnerf.errors import UserError
from tfnerf.scenes import Scene
from tfnerf.settings import Config
from tfnerf.train.trainer import Progress, Trainer


def one_device(scene: Scene, config: Config) -> Trainer:
    return Trainer(scene, config, tf.distribute.get_strategy())


@functools.cache
def both_devices() -> tf.distribute.Strategy:
    """Always the same: reductions of a second one are taken for those of the first."""
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    assert len(devices) == 2
    return tf.distribute.MirroredStrategy(devices)


def two_devices(scene: Scene, config: Config) -> Trainer:
    return Trainer(scene, config, both_devices())


def weights(trainer: Trainer) -> np.ndarray:
    return np.concatenate([weight.ravel() for weight in trainer.model.get_weights()])


def assert_close(one: Progress, other: Progress, rtol: float = 1e-4) -> None:
    for a, b in zip(tf.nest.flatten(one.statistics), tf.nest.flatten(other.statistics)):
        np.testing.assert_allclose(a, b, rtol=rtol)


def test_training_lowers_the_loss() -> None:
    trainer = one_device(small_scene(), small_config())
    first = trainer.run(1).statistics.loss
    trainer.run(60)
    assert trainer.run(1).statistics.loss < 0.5 * first
    assert trainer.step == 62


def test_one_step_along_the_gradient_lowers_the_loss_of_its_batch() -> None:
    trainer = one_device(small_scene(), small_config())
    batch = trainer._batches(0, 0, 64)
    before, gradients = trainer.loss_and_gradients(batch)
    trainer.optimizer.apply(gradients)
    after, _ = trainer.loss_and_gradients(batch)
    assert after.loss < before.loss


def test_several_steps_in_one_call_equal_single_steps() -> None:
    together, single = (one_device(small_scene(), small_config()) for _ in range(2))
    sums = together.run(5).statistics
    losses = [single.run(1).statistics.loss for _ in range(5)]
    np.testing.assert_array_equal(weights(together), weights(single))
    np.testing.assert_allclose(sums.loss, sum(losses), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("jit_compile", ["off", "on"])
@pytest.mark.parametrize("batching", ["all_images", "one_image"])
def test_two_devices_train_like_one(jit_compile: str, batching: str) -> None:
    config = small_config(jit_compile=jit_compile, batching=batching)
    one, two = one_device(small_scene(), config), two_devices(small_scene(), config)
    for num_steps in (1, 3):
        assert_close(one.run(num_steps), two.run(num_steps))
    assert one.step == two.step == 4
    assert one.learning_rate == two.learning_rate
    np.testing.assert_allclose(weights(one), weights(two), atol=1e-4)


def descend(variables: list[keras.Variable], gradients: list[tf.Tensor]) -> None:
    for variable, gradient in zip(variables, gradients):
        tf.raw_ops.ResourceApplyGradientDescent(
            var=variable.value.handle, alpha=0.1, delta=gradient
        )


def test_two_devices_sum_to_the_gradient_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain gradient descent, because Adam hides a wrong factor."""
    scene, config = small_scene(), small_config()
    trainers = one_device(scene, config), two_devices(scene, config)
    moved = []
    for trainer in trainers:
        before = weights(trainer)
        (adam,) = trainer.optimizer._adams
        monkeypatch.setattr(adam, "apply", functools.partial(descend, adam.group.variables))
        trainer.run(1)
        moved.append(weights(trainer) - before)
    assert np.abs(moved[0]).max() > 1e-4
    np.testing.assert_allclose(moved[0], moved[1], atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("rays_per_chunk", [1, 10, 40])
def test_chunks_need_less_memory_and_change_nothing(rays_per_chunk: int) -> None:
    """64 rays as 64, 8 and 2 chunks of equal size."""
    whole = one_device(small_scene(), small_config())
    chunked = one_device(small_scene(), small_config(rays_per_chunk=rays_per_chunk))
    assert chunked._num_chunks == {1: 64, 10: 8, 40: 2}[rays_per_chunk]
    assert_close(chunked.run(3), whole.run(3))
    np.testing.assert_allclose(weights(chunked), weights(whole), atol=1e-4)


def test_same_seed_same_weights() -> None:
    runs = [one_device(small_scene(), small_config(seed=seed)) for seed in (3, 3, 4)]
    for trainer in runs:
        trainer.run(3)
    np.testing.assert_array_equal(weights(runs[0]), weights(runs[1]))
    assert (weights(runs[0]) != weights(runs[2])).any()


def test_a_run_without_fine_samples_has_no_fine_network() -> None:
    trainer = one_device(small_scene(), small_config(num_fine_samples=0))
    assert trainer.model.fine is None
    statistics = trainer.run(2).statistics
    assert statistics.losses == {"final": statistics.loss}


def test_a_loss_that_is_not_finite_stops_the_call_at_its_step() -> None:
    trainer = one_device(small_scene(), small_config())
    trainer.run(2)
    trainer.model.fine.rgb.bias.assign([float("nan"), 0.0, 0.0])
    progress = trainer.run(10)
    assert progress.statistics.not_finite
    assert progress.num_steps == 1
    assert trainer.step == 3


def test_all_workers_learn_that_one_must_stop() -> None:
    trainer = two_devices(small_scene(), small_config())
    assert not trainer.run(1).stop
    progress = trainer.run(1, stop=True, seconds_per_step=0.25)
    assert progress.stop
    assert progress.seconds_per_step == 0.25


def test_disparity_needs_a_near_plane() -> None:
    scene = dataclasses.replace(small_scene(), near=0.0)
    with pytest.raises(UserError, match="--lindisp: needs near > 0, found near 0"):
        one_device(scene, small_config(lindisp=True))


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"--batch_size=63: expected a multiple of the 2 devices"):
        two_devices(small_scene(), small_config(batch_size=63))


def state_of(trainer: Trainer) -> dict[str, list]:
    """All that a checkpoint holds."""
    return {"model": trainer.model.variables, "optimizer": trainer.optimizer.variables}


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
@pytest.mark.parametrize("stop", [6, 9])
def test_from_any_step_it_goes_on_as_if_it_had_never_stopped(field: str, stop: int) -> None:
    """Before, at and after steps at which the box shrinks and planes become finer."""
    config = FIELDS_ON_A_GRID[field]
    scene = scene_for(config)
    whole = run_to(one_device(scene, config), 20)
    first = run_to(one_device(scene, config), stop)
    resumed = Trainer(scene, config, tf.distribute.get_strategy(), step=stop)
    for name, variables in state_of(resumed).items():
        for variable, value in zip(variables, state_of(first)[name], strict=True):
            variable.assign(value.numpy())
    resumed = run_to(resumed, 20)
    for name, variables in state_of(whole).items():
        for one, other in zip(variables, state_of(resumed)[name], strict=True):
            np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_codes_learn_in_chunks_as_at_once() -> None:
    scene = small_scene()
    whole, chunked = (
        one_device(scene, small_config(appearance_width=2, rays_per_chunk=rays))
        for rays in (64, 10)
    )
    assert chunked._num_chunks > 1
    assert_close(whole.run(3), chunked.run(3))
    for one, other in zip(whole.model.variables, chunked.model.variables):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-4)


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
        trainer.optimizer.start_at(600)
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
