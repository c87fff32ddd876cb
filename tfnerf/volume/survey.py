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
_SEEN = 0.9995
"""Share of what makes pictures that has to be kept."""
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
        of_times = [densities_at(field, points, time, progress) for time in times]
    found = np.max(of_times, axis=0)
    found = found.reshape([_FIRST_RESOLUTION, per_side] * 3)
    grid.density.assign(found.max(axis=(1, 3, 5)))
    grid.mark_occupied()
    return grid


def keep_seen(grid: DensityGrid, renderer: SceneRenderer, rays: Rays) -> None:
    """Empties the cells of a grid that pictures are the same without.

    What no camera sees is left as it came out: fog that would keep the grid large and its cells
    with it, and hide what is behind it from the sampler.

    Args:
      grid: a coarse one.
      renderer: of the scene, without a grid.
      rays: many that were trained on, in scene coordinates.
    """
    warped = rays if renderer.warp is None else renderer.warp.warp(rays)
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
    kept = _most_of(seen).reshape([_FIRST_RESOLUTION] * 3)
    grid.density.assign(tf.where(dilated(tf.constant(kept)), grid.density.value, 0.0))
    grid.mark_occupied()


def _most_of(values: np.ndarray) -> np.ndarray:
    """Which values [M], the largest ones, make up nearly all of their sum."""
    order = np.argsort(-values)
    total = np.cumsum(values[order])
    if not total[-1] > 0:
        return np.ones(len(values), bool)
    kept = np.zeros(len(values), bool)
    kept[order[: np.searchsorted(total, _SEEN * total[-1]) + 1]] = True
    return kept


def fine_survey(field: Field, coarse: DensityGrid, grid: DensityGrid) -> None:
    """Fills a grid over what a coarse one calls occupied.

    Args:
      field: what both show.
      coarse: the coarse one.
      grid: that is filled, at each of its times.
    """
    grid.box.corners.assign(coarse.occupied_box(all_pieces=True))
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
