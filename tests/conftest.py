"""Set-up that all tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf

_SHARED = Path(__file__).resolve().parents[2] / "shared"

# Products of matrices in full precision, which the tolerances are for.
tf.config.experimental.enable_tensor_float_32_execution(False)

# Two devices on every machine, so that training on one and on two can be compared.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)

_SLOW = ("end_to_end", "live", "serving", "inspect")
"""Folders of tests that start processes, or look at many photographs."""
_LONG = ("test_training_on_a_grid.py", "test_trainer.py")
"""Files near the end that take minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks them, for `make test-fast`; single tests elsewhere are marked where they are.

    Long files come first: at the end one process would work on them, and the other have nothing.
    """
    for item in items:
        if item.path.parent.name in _SLOW:
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same in each test."""
    return np.random.default_rng(0)


@pytest.fixture
def golden() -> Callable[[str], Path]:
    """Path of a file of numbers that the original computed; skips the test if it is not there."""

    def path(name: str) -> Path:
        found = Path(os.environ.get("TFNERF_GOLDEN", _SHARED / "golden")) / name
        if not found.exists():
            pytest.skip(f"no golden file {name}: set TFNERF_GOLDEN to a folder that has it")
        return found

    return path


@pytest.fixture
def real_data() -> Callable[[str], Path]:
    """Path of a real scene; skips the test if it is not there."""

    def path(name: str) -> Path:
        found = Path(os.environ.get("TFNERF_DATA", _SHARED / "data")) / name
        if not found.exists():
            pytest.skip(f"no scene {name}: set TFNERF_DATA to a folder that has it")
        return found

    return path
