"""Making a density grid of a field that was trained without one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tfnerf.fields.density_grid import DensityGrid
from tfnerf.fields.field import Field
from tfnerf.progress import progress_bar

_FIRST_RESOLUTION = 64
_POINTS_PER_SIDE = 2
"""Of a cell of the first grid that are asked, so that what is thin is not missed."""
_POINTS_PER_CHUNK = 1 << 15


def survey(field: Field, box: np.ndarray, resolution: int) -> DensityGrid:
    """A grid of what a field holds: coarse everywhere, fine where the coarse one found something.

    Args:
      field: a trained one without conditions.
      box: [2, 3], where to look, in the coordinates of the field.
      resolution: G, cells along each side of what was found.

    Returns:
      A grid over the smallest box around all that was found.
    """
    density_at = _density_of(field)
    first = DensityGrid(_FIRST_RESOLUTION, name="grid")
    first.box.corners.assign(box)
    lattice = _FIRST_RESOLUTION * _POINTS_PER_SIDE
    points = _centers(box, lattice)
    with progress_bar("grid", len(points), "point") as progress:
        found = density_at(points, progress).reshape([_FIRST_RESOLUTION, _POINTS_PER_SIDE] * 3)
    first.density.assign(found.max(axis=(1, 3, 5)))
    first.mark_occupied()
    grid = DensityGrid(resolution, name="grid")
    grid.box.corners.assign(first.occupied_box(all_pieces=True))
    points = _centers(grid.box.corners.numpy(), resolution)
    something = _lookup(first.occupied.numpy(), box, points)
    density = np.zeros(len(points), np.float32)
    with progress_bar("grid, where something is", int(something.sum()), "point") as progress:
        density[something] = density_at(points[something], progress)
    grid.density.assign(density.reshape([resolution] * 3))
    grid.mark_occupied()
    return grid


def _density_of(field: Field) -> Callable[[np.ndarray, Callable[[int], object]], np.ndarray]:
    """The densities [M] of a field at points [M, 3], which tells how many are done."""
    graph = tf.function(
        lambda points: field(points)[0], input_signature=[tf.TensorSpec([None, 3], tf.float32)]
    )

    def density_at(points: np.ndarray, progress: Callable[[int], object]) -> np.ndarray:
        found = [np.zeros(0, np.float32)]
        for start in range(0, len(points), _POINTS_PER_CHUNK):
            some = points[start : start + _POINTS_PER_CHUNK]
            found.append(graph(tf.constant(some)).numpy())
            progress(len(some))
        return np.concatenate(found)

    return density_at


def _centers(box: np.ndarray, resolution: int) -> np.ndarray:
    """Centres of the cells of a grid over a box, [G^3, 3] float32."""
    places = [
        np.float32(
            box[0][axis] + (box[1] - box[0])[axis] * (np.arange(resolution) + 0.5) / resolution
        )
        for axis in range(3)
    ]
    return np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape([-1, 3])


def _lookup(cells: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The values [M] of cells [G, G, G] over a box that points [M, 3] inside lie in."""
    places = (points - box[0]) / (box[1] - box[0]) * len(cells)
    index = np.clip(places.astype(np.int32), 0, len(cells) - 1)
    values: np.ndarray = cells[index[:, 0], index[:, 1], index[:, 2]]
    return values
