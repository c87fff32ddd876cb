"""What a grid of densities holds, as a picture."""

from __future__ import annotations

import numpy as np

from tfnerf.fields.density_grid import DensityGrid
from tfnerf.images import color_map

_GAP = 4
"""Pixels between the parts."""


def grid_sheet(grid: DensityGrid) -> np.ndarray:
    """How opaque the box of a grid is, seen along its x, its y and its z axis.

    Args:
      grid: of G cells along each side; where things move all times are shown at once.

    Returns:
      [G, 3 * G + gaps, 3] uint8; of the two other axes the first one goes to the right and the
      second one up.
    """
    sizes = np.diff(grid.box.corners.numpy(), axis=0)[0] / grid.resolution
    density = grid.density.numpy()
    if grid.num_times is not None:
        density = density.max(0)
    parts = []
    for axis in range(3):
        opacity = 1 - np.exp(-density.sum(axis) * sizes[axis])
        part = color_map(opacity.T[::-1], "magma")
        gap = np.full([grid.resolution, _GAP, 3], 255, np.uint8)
        parts += [part, gap]
    return np.concatenate(parts[:-1], axis=1)
