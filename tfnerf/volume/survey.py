"""Making a density grid of a field that was trained without one."""

from __future__ import annotations

import numpy as np

from tfnerf.fields.density_grid import DensityGrid, cell_centers, densities_at
from tfnerf.fields.field import Field
from tfnerf.progress import progress_bar

_FIRST_RESOLUTION = 64
_POINTS_PER_SIDE = 2
"""Of a cell of the first grid that are asked, so that what is thin is not missed."""


def survey(field: Field, box: np.ndarray, resolution: int) -> DensityGrid:
    """A grid of what a field holds: coarse everywhere, fine where the coarse one found something.

    Args:
      field: a trained one without conditions.
      box: [2, 3], where to look, in the coordinates of the field.
      resolution: G, cells along each side of what was found.

    Returns:
      A grid over the smallest box around all that was found.
    """
    first = DensityGrid(_FIRST_RESOLUTION, name="grid")
    first.box.corners.assign(box)
    lattice = _FIRST_RESOLUTION * _POINTS_PER_SIDE
    points = cell_centers(box, lattice)
    with progress_bar("grid", len(points), "point") as progress:
        found = densities_at(field, points, progress).reshape(
            [_FIRST_RESOLUTION, _POINTS_PER_SIDE] * 3
        )
    first.density.assign(found.max(axis=(1, 3, 5)))
    first.mark_occupied()
    grid = DensityGrid(resolution, name="grid")
    grid.box.corners.assign(first.occupied_box(all_pieces=True))
    points = cell_centers(grid.box.corners.numpy(), resolution)
    something = _lookup(first.occupied.numpy(), box, points)
    density = np.zeros(len(points), np.float32)
    with progress_bar("grid, where something is", int(something.sum()), "point") as progress:
        density[something] = densities_at(field, points[something], progress)
    grid.density.assign(density.reshape([resolution] * 3))
    grid.mark_occupied()
    return grid


def _lookup(cells: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The values [M] of cells [G, G, G] over a box that points [M, 3] inside lie in."""
    places = (points - box[0]) / (box[1] - box[0]) * len(cells)
    index = np.clip(places.astype(np.int32), 0, len(cells) - 1)
    values: np.ndarray = cells[index[:, 0], index[:, 1], index[:, 2]]
    return values
