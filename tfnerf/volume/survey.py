"""Making a density grid of a field that was trained without one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from tfnerf.fields.density_grid import DensityGrid, cell_centers, densities_at, dilated
from tfnerf.fields.field import Field
from tfnerf.geometry.cameras import Rays, rows_of
from tfnerf.progress import progress_bar
from tfnerf.volume.samples import Draws
from tfnerf.volume.scene_renderer import SceneRenderer

_FIRST_RESOLUTION = 64
_POINTS_PER_SIDE = 2
"""Of a cell of the first grid that are asked, so that what is thin is not missed; where many times
are asked it is one point at each."""
_IN_BOX, _SEEN = 0.9995, 0.9999
"""Shares of what makes pictures that have to be in the box, and in cells that are occupied."""
_RAYS_PER_CHUNK = 1024


def coarse_survey(
    field: Field, box: np.ndarray, times: Sequence[float | None] = (None,)
) -> DensityGrid:
    """A coarse grid of what a field holds.

    Args:
      field: a trained one.
      box: [2, 3], where to look, in the coordinates of the field.
      times: of a cell the most that it holds at any of these counts; None: nothing moves.
    """
    grid = DensityGrid(_FIRST_RESOLUTION, name="grid")
    grid.box.corners.assign(box)
    per_side = _POINTS_PER_SIDE if len(times) == 1 else 1
    points = cell_centers(box, _FIRST_RESOLUTION * per_side)
    with progress_bar("grid", len(times) * len(points), "point") as progress:
        found = densities_at(field, points, times, progress).max(0)
    found = found.reshape([_FIRST_RESOLUTION, per_side] * 3)
    grid.density.assign(found.max(axis=(1, 3, 5)))
    grid.mark_occupied()
    return grid


def keep_seen(grid: DensityGrid, renderer: SceneRenderer, rays: Rays) -> np.ndarray:
    """Empties the cells of a grid that pictures are the same without, and finds those they need.

    What no camera sees is left as it came out: fog that would keep the grid large and its cells
    with it, and hide what is behind it from the sampler. Where cameras see what lies between the
    points that were asked the cells are occupied, for a finer grid to look into them.

    Args:
      grid: a coarse one.
      renderer: of the scene, without a grid.
      rays: many that were trained on, in scene coordinates.

    Returns:
      The box [2, 3] that a finer grid should have: thin haze around does not make it larger.
    """
    warped = renderer.warped(rays)
    seen = np.zeros(_FIRST_RESOLUTION**3)

    @tf.function(reduce_retracing=True, autograph=False)
    def cells_and_effects(some: Rays) -> tuple[tf.Tensor, tf.Tensor]:
        samples = renderer.sampler(some, Draws())
        effects = renderer.effects(some, samples)
        return grid.cells_at(some, samples.depths), effects

    num_rays = int(rays.origins.shape[0])
    with progress_bar("grid, what is seen", num_rays, "ray") as progress:
        for start in range(0, num_rays, _RAYS_PER_CHUNK):
            some = rows_of(warped, slice(start, start + _RAYS_PER_CHUNK))
            cells, effects = (part.numpy().ravel() for part in cells_and_effects(some))
            inside = cells >= 0
            seen += np.bincount(cells[inside], effects[inside], len(seen))
            progress(some.origins.shape[0])
    found = grid.density.numpy()
    _keep_dense(grid, found, _most_of(seen, _IN_BOX))
    box = grid.occupied_box(all_pieces=True)
    kept = _most_of(seen, _SEEN)
    _keep_dense(grid, found, kept)
    grid.occupied.assign(grid.occupied.value | _with_neighbors(kept & (seen > 0)))
    return box


def _keep_dense(grid: DensityGrid, densities: np.ndarray, kept: np.ndarray) -> None:
    """Leaves a grid densities [G, G, G] of cells [G^3] that are kept, and of their neighbours."""
    grid.density.assign(tf.where(_with_neighbors(kept), densities, 0.0))
    grid.mark_occupied()


def _with_neighbors(cells: np.ndarray) -> tf.Tensor:
    """Cells [G^3] and their neighbours, [G, G, G]."""
    return dilated(tf.constant(cells.reshape([_FIRST_RESOLUTION] * 3)))


def _most_of(values: np.ndarray, share: float) -> np.ndarray:
    """Which values [M], the largest ones, make up a share of their sum."""
    order = np.argsort(-values)
    total = np.cumsum(values[order])
    if not total[-1] > 0:
        return np.ones(len(values), bool)
    kept = np.zeros(len(values), bool)
    kept[order[: np.searchsorted(total, share * total[-1]) + 1]] = True
    return kept


def fine_survey(field: Field, coarse: DensityGrid, grid: DensityGrid, box: np.ndarray) -> None:
    """Fills a grid over what a coarse one calls occupied.

    Args:
      field: what both show.
      coarse: the coarse one.
      grid: that is filled, at each of its times.
      box: [2, 3], that it gets, inside of that of the coarse one.
    """
    grid.box.corners.assign(box)
    points = cell_centers(grid.box.corners.numpy(), grid.resolution)
    something = _lookup(coarse.occupied.numpy(), coarse.box.corners.numpy(), points)
    num_asked = len(grid.telling_times(field)) * int(something.sum())
    with progress_bar("grid, where something is", num_asked, "point") as progress:
        grid.fill(field, something, progress)
    grid.mark_occupied()


def _lookup(cells: np.ndarray, box: np.ndarray, points: np.ndarray) -> np.ndarray:
    """The values [M] of cells [G, G, G] over a box that points [M, 3] inside lie in."""
    places = (points - box[0]) / (box[1] - box[0]) * len(cells)
    index = np.clip(places.astype(np.int32), 0, len(cells) - 1)
    values: np.ndarray = cells[index[:, 0], index[:, 1], index[:, 2]]
    return values
