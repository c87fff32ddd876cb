"""A pattern that solids are painted with, so that places on them can be told apart."""

from __future__ import annotations

import numpy as np

_CELLS = 32
"""Of the volume of random numbers that fills space, along each side."""
_SIZES = (0.3, 0.1, 0.04)
"""Of the spots, scene units: some can be told apart from far away, others when seen sharply."""
_CONTRAST = 2.5
_DARKEST = 0.3


def brightness_at(points: np.ndarray) -> np.ndarray:
    """What colours at points [N, 3] are multiplied with: [N], mostly near 0.3 or near 1."""
    from scipy import ndimage

    volume = np.random.default_rng(0).normal(size=[_CELLS] * 3)
    noise = sum(
        ndimage.map_coordinates(volume, points.T / size + shift, order=1, mode="grid-wrap")
        for shift, size in enumerate(_SIZES)
    )
    share = 0.5 + 0.5 * np.tanh(_CONTRAST * noise)
    brightness: np.ndarray = _DARKEST + (1 - _DARKEST) * share
    return brightness
