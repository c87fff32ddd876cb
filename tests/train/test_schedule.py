"""The learning rate."""

from __future__ import annotations

import keras
import numpy as np

from tfnerf.train.schedule import DecayWithWarmup


def test_rate_falls_by_ten_in_the_decay_steps() -> None:
    schedule = DecayWithWarmup(5e-4, 1000)
    rates = [float(schedule(step)) for step in (0, 500, 1000, 2000)]
    np.testing.assert_allclose(rates, [5e-4, 5e-4 / 10**0.5, 5e-5, 5e-6], rtol=1e-5)


def test_cosine_falls_along_half_a_period_to_a_fiftieth_and_stays_there() -> None:
    schedule = DecayWithWarmup(1e-3, 1000, cosine=True)
    shares = [float(schedule.decay(step)) for step in (0, 250, 500, 750, 1000, 1500)]
    fall = 0.5**0.5 / 2
    np.testing.assert_allclose(shares, [1, 0.5 + fall, 0.5, 0.5 - fall, 0.02, 0.02], atol=1e-6)


def test_warmup_rises_linearly_and_then_leaves_the_schedule_alone() -> None:
    plain, warm = DecayWithWarmup(1e-3, 1000), DecayWithWarmup(1e-3, 1000, warmup_steps=10)
    ratios = [float(warm(step) / plain(step)) for step in (0, 4, 9, 10, 500)]
    np.testing.assert_allclose(ratios, [0.1, 0.5, 1, 1, 1], rtol=1e-6)


def test_schedule_can_be_saved() -> None:
    schedule = DecayWithWarmup(1e-3, 1000, warmup_steps=10, cosine=True)
    serialized = keras.saving.serialize_keras_object(schedule)
    again = keras.saving.deserialize_keras_object(serialized)
    assert again.get_config() == schedule.get_config()
