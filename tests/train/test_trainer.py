"""The training step."""

from __future__ import annotations

import dataclasses
import functools
import logging

import keras
import numpy as np
import pytest
import tensorflow as tf
from small import small_config, small_scene
from trainers import assert_close, one_device, two_devices, weights

from tfnerf.errors import UserError
from tfnerf.settings import Config


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


def test_a_grid_of_more_cells_than_random_numbers_is_refused() -> None:
    config = Config().replaced(sampler="grid", grid_resolution=257)
    with pytest.raises(UserError, match="--grid_resolution=257: expected at most 256 with"):
        one_device(small_scene(), config)


@pytest.mark.parametrize(("batch_size", "warns"), [(61, True), (60, False), (16, False)])
def test_batches_that_come_apart_into_single_rays_are_warned_of(
    batch_size: int, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "tfnerf"):
        one_device(small_scene(), small_config(batch_size=batch_size, rays_per_chunk=32))
    assert ("equal chunks of 1 rays only, where 32 fit" in caplog.text) == warns


def test_a_batch_that_devices_cannot_share_is_refused() -> None:
    with pytest.raises(UserError, match=r"--batch_size=63: expected a multiple of the 2 devices"):
        two_devices(small_scene(), small_config(batch_size=63))


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
