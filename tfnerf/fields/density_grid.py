"""A grid of densities over a box: a coarse network without weights, which is only looked up."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnerf.fields.box import Box
from tfnerf.fields.field import Conditions, Field, condition_of
from tfnerf.geometry.cameras import Rays
from tfnerf.random_numbers import BatchRows, Stream

_EMPTY_OPACITY = 1e-3
"""Of a cell, seen across its longest side, below which it and its neighbours count as empty."""
_DECAY = 0.95
"""What is left of a cell's density when the field says it is lower."""
_ROUNDING = 1e-5
"""Of times."""
_SPECK = 0.1
"""Size of a piece, against the largest, up to which it is taken for a mistake."""
_CELLS_PER_REFRESH = 1 << 15
"""That a field is asked for where it cannot tell all of them at once."""
_MOVING_CELLS_PER_REFRESH = 1 << 17
"""The same where there are as many as that for each span of time."""
_POINTS_PER_CHUNK = 1 << 15


@keras.saving.register_keras_serializable(package="tfnerf")
class DensityGrid(keras.layers.Layer):
    """Densities of the cells of a box, and which cells are worth a look.

    Both are kept up to date from a field. At first there is no density and yet no cell is empty,
    because a field that has learned nothing says nothing about the scene.

    In a scene that moves there are such cells for each of some spans of time.

    Args:
      resolution: G, cells along each side of the box.
      num_times: T, spans of time, that share the condition "time" from 0 to 1 evenly; None: nothing
        moves, and there is no such condition.
    """

    def __init__(self, resolution: int, num_times: int | None = None, name: str | None = None):
        super().__init__(name=name, dtype="float32")
        self.resolution = resolution
        self.num_times = num_times
        self.box = Box(name="box")
        self.shape = ([] if num_times is None else [num_times]) + [resolution] * 3
        self.density = self.add_weight(
            shape=self.shape, initializer="zeros", trainable=False, name="density"
        )
        self.occupied = self.add_weight(
            shape=self.shape, dtype="bool", initializer="ones", trainable=False, name="occupied"
        )
        self.built = True

    def look_along(self, rays: Rays, depths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """What the cells hold that rays pass through.

        Args:
          rays: N of them.
          depths: [N, S], between those of `span`.

        Returns:
          Densities [N, S], and whether the cells are occupied [N, S].
        """
        cells = self._cells(rays, depths)
        return _looked_up(self.density.value, cells), _looked_up(self.occupied.value, cells)

    def meets_something(self, rays: Rays, depths: tf.Tensor) -> tf.Tensor:
        """Which rays [N] pass through an occupied cell; the arguments of `look_along`."""
        cells = self._cells(rays, depths)
        return tf.reduce_any(_looked_up(self.occupied.value, cells), -1)

    def occupied_along(self, rays: Rays, depths: tf.Tensor) -> tf.Tensor:
        """Whether [N, S] there may be something at depths [N, S] along rays, in the box or not."""
        cells = self.cells_at(rays, depths)
        return (cells >= 0) & _looked_up(self.occupied.value, tf.maximum(cells, 0))

    def occupied_at(self, points: tf.Tensor, conditions: Conditions | None = None) -> tf.Tensor:
        """Whether [M] there may be something at points [M, 3], in the box or not."""
        still = tf.zeros_like(points)
        rays = Rays(points, still, still, conditions)
        return self.occupied_along(rays, still[:, :1])[:, 0]

    def cells_at(self, rays: Rays, depths: tf.Tensor) -> tf.Tensor:
        """Indices [N, S] of cells at depths [N, S] along rays; -1 outside of the box."""
        inside = self.box.to_unit(rays.at(depths))
        in_box = tf.reduce_all((inside >= 0) & (inside < 1), -1)
        return tf.where(in_box, self._cells(rays, depths), -1)

    def _cells(self, rays: Rays, depths: tf.Tensor) -> tf.Tensor:
        """Indices [N, S] of cells at depths along rays inside of the box."""
        per_unit = self.resolution / self.box.size
        start, step = (rays.origins - self.box.low) * per_unit, rays.directions * per_unit
        index = tf.zeros_like(depths, tf.int32)
        # Axis by axis, because passes over [N, S, 3] take four times as long.
        for axis in range(3):
            place = start[:, axis, tf.newaxis] + step[:, axis, tf.newaxis] * depths
            index = index * self.resolution + tf.cast(place, tf.int32)
        num_cells = self.resolution**3
        # Where rounding takes a place out of the box.
        index = tf.clip_by_value(index, 0, num_cells - 1)
        if self.num_times is None:
            return index
        span = tf.cast(condition_of(rays.conditions, "time") * self.num_times, tf.int32)
        span = tf.clip_by_value(span, 0, self.num_times - 1)
        return span[:, tf.newaxis] * num_cells + index

    def span(
        self, rays: Rays, near: tf.Tensor | float, far: tf.Tensor | float
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Depths between which rays are in the box and between near and far.

        Args:
          rays: N of them.
          near: depth where rays begin.
          far: depth where they end.

        Returns:
          Two depths [N, 1]; the second is the smaller one where a ray misses the box.
        """
        # A ray along a side of the box meets the planes of the other sides at infinity.
        inverse = 1 / tf.where(tf.abs(rays.directions) < 1e-9, 1e-9, rays.directions)
        first = (self.box.low - rays.origins) * inverse
        second = first + self.box.size * inverse
        enters = tf.reduce_max(tf.minimum(first, second), -1, keepdims=True)
        leaves = tf.reduce_min(tf.maximum(first, second), -1, keepdims=True)
        return tf.maximum(enters, near), tf.minimum(leaves, far)

    def refresh(self, field: Field, seed: int, step: tf.Tensor) -> None:
        """Takes over the densities of a field, or of a field that has to be asked some of them.

        Of such a field a density is what it was found to be in the last refreshes at most, because
        the points that are asked may miss what is thin (Mueller et al. 2022, appendix E).

        Args:
          field: whose densities these are.
          seed: of the run.
          step: scalar int, steps done.
        """
        densities = self._all_of(field)
        self.density.assign(
            self._with_some_asked(field, seed, step) if densities is None else densities
        )

    def _all_of(self, field: Field) -> tf.Tensor | None:
        """The densities of all cells, if the field can tell; of a span, the most that is in it."""
        times = self.telling_times(field)
        found = [field.densities_on_grid(self.resolution, time) for time in times]
        return None if found[0] is None else self._most_of_spans(times, found)

    def telling_times(self, field: Field) -> Sequence[float | None]:
        """Ends of spans, and times between which a field changes evenly; None: nothing moves."""
        if self.num_times is None:
            return [None]
        ends = np.linspace(0, 1, self.num_times + 1)
        times: list[float | None] = np.unique(
            np.concatenate([ends, field.moments]).round(6)
        ).tolist()
        return times

    def _most_of_spans(self, times: Sequence[float | None], found: list[Any]) -> tf.Tensor:
        """The largest densities of each span, of densities [G, G, G] at times in and around."""
        if self.num_times is None:
            return found[0]
        spans = []
        for span in range(self.num_times):
            begin, end = span / self.num_times - _ROUNDING, (span + 1) / self.num_times + _ROUNDING
            inside = [
                densities
                for time, densities in zip(times, found)
                if time is not None and begin <= time <= end
            ]
            spans.append(functools.reduce(tf.maximum, inside))
        return tf.stack(spans)

    def _with_some_asked(self, field: Field, seed: int, step: tf.Tensor) -> tf.Tensor:
        """Cells at random, and random points in them; spans at random times in them."""
        num_cells = self.resolution**3
        most = _CELLS_PER_REFRESH if self.num_times is None else _MOVING_CELLS_PER_REFRESH
        count = min(int(np.prod(self.shape)), most)
        rows = BatchRows(seed, step, count, tf.constant(0), count)
        numbers = rows.uniforms(4 if self.num_times is None else 6, Stream.GRID)
        cells = tf.cast(numbers[:, 3] * num_cells, tf.int32)
        corner = tf.stack(
            [
                cells // self.resolution**2,
                cells // self.resolution % self.resolution,
                cells % self.resolution,
            ],
            -1,
        )
        places = (tf.cast(corner, tf.float32) + numbers[:, :3]) / self.resolution
        conditions = None
        if self.num_times is not None:
            span = tf.floor(numbers[:, 4] * self.num_times)
            conditions = {"time": (span + numbers[:, 5]) / self.num_times}
            cells += tf.cast(span, tf.int32) * num_cells
        found, _ = field(self.box.low + self.box.size * places, conditions)
        density = tf.reshape(self.density.value, [-1])
        index = cells[:, tf.newaxis]
        before = tf.gather(density, cells)
        density = tf.tensor_scatter_nd_update(density, index, _DECAY * before)
        return tf.reshape(tf.tensor_scatter_nd_max(density, index, found), self.shape)

    def fill(
        self,
        field: Field,
        asked: np.ndarray | None = None,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """Takes over the density of a field at the centre of each cell, which may take a while.

        Args:
          field: whose densities these are.
          asked: [G^3] bool, cells that a field has to be asked for if it cannot tell all of them
            at once, nothing is in the others; None: all.
          progress: called with the number of cells that it was asked for.
        """
        densities = self._all_of(field)
        if densities is None:
            densities = self._all_asked(field, asked, progress)
        self.density.assign(densities)

    def _all_asked(
        self,
        field: Field,
        asked: np.ndarray | None,
        progress: Callable[[int], object] | None,
    ) -> tf.Tensor:
        """The same of a field that has to be asked for each cell."""
        points = cell_centers(self.box.corners.numpy(), self.resolution)
        asked = np.ones(len(points), bool) if asked is None else asked
        times = self.telling_times(field)
        found = np.zeros([len(times), len(points)], np.float32)
        found[:, asked] = densities_at(field, points[asked], times, progress)
        shape = [self.resolution] * 3
        return self._most_of_spans(times, [density.reshape(shape) for density in found])

    def mark_occupied(self) -> None:
        """Says anew which cells are empty: those of next to no density, as are their neighbours."""
        longest = tf.reduce_max(self.box.size) / self.resolution
        opacity = 1 - tf.exp(-self.density.value * longest)
        self.occupied.assign(dilated(opacity >= _EMPTY_OPACITY))

    @property
    def next_to_nothing(self) -> float:
        """The density that a cell reaches before it counts as occupied."""
        longest = float(tf.reduce_max(self.box.size)) / self.resolution
        return float(-np.log1p(-_EMPTY_OPACITY) / longest)

    @property
    def occupied_share(self) -> float:
        """Share of the cells that are not empty, or next to one that is not."""
        return float(np.mean(self.occupied.numpy()))

    def occupied_box(self, *, all_pieces: bool = False) -> np.ndarray:
        """The smallest box [2, 3] float64 around the cells that are not empty.

        Args:
          all_pieces: of pieces apart from each other all count, else specks do not: while training
            one in front of a camera must not keep the box large. Larger ones count, because early
            in training fog can be larger than the scene.
        """
        from scipy import ndimage

        corners = self.box.corners.numpy()
        occupied = self.occupied.numpy()
        if self.num_times is not None:
            occupied = occupied.any(0)
        if not occupied.any():
            return corners
        if not all_pieces:
            pieces, _ = ndimage.label(occupied)
            sizes = np.bincount(pieces.ravel())
            sizes[0] = 0
            occupied = (sizes > _SPECK * sizes.max())[pieces]
        cells = np.argwhere(occupied)
        around = np.stack([cells.min(0), cells.max(0) + 1])
        return corners[0] + (corners[1] - corners[0]) * around / self.resolution

    def get_config(self) -> dict[str, Any]:
        """The arguments that make a grid of the same size."""
        return {"resolution": self.resolution, "num_times": self.num_times, "name": self.name}


def cell_centers(box: np.ndarray, resolution: int) -> np.ndarray:
    """Centres of the cells of a grid over a box [2, 3], [G^3, 3] float32, the last axis fastest."""
    places = [
        np.float32(low + (high - low) * (np.arange(resolution) + 0.5) / resolution)
        for low, high in box.T
    ]
    return np.stack(np.meshgrid(*places, indexing="ij"), -1).reshape([-1, 3])


def densities_at(
    field: Field,
    points: np.ndarray,
    times: Sequence[float | None] = (None,),
    progress: Callable[[int], object] | None = None,
) -> np.ndarray:
    """Densities [T, M] of a field, asked for a bounded number of points at a time.

    Args:
      field: whose they are.
      points: [M, 3] float32.
      times: T of the scene; None: nothing moves.
      progress: called with the number of points after each part of them.
    """
    moves = None not in times

    def densities(some: tf.Tensor, time: tf.Tensor) -> tf.Tensor:
        conditions = {"time": tf.fill(tf.shape(some)[:1], time)} if moves else None
        return field(some, conditions)[0]

    graph = tf.function(
        densities,
        input_signature=[tf.TensorSpec([None, 3], tf.float32), tf.TensorSpec([], tf.float32)],
        autograph=False,
    )
    found = np.zeros([len(times), len(points)], np.float32)
    for row, time in zip(found, times):
        for start in range(0, len(points), _POINTS_PER_CHUNK):
            some = points[start : start + _POINTS_PER_CHUNK]
            row[start : start + len(some)] = graph(some, time or 0.0).numpy()
            if progress is not None:
                progress(len(some))
    return found


def _looked_up(values: tf.Tensor, cells: tf.Tensor) -> tf.Tensor:
    """Values of cells by index [N, S]."""
    return tf.gather(tf.reshape(values, [-1]), cells)


def dilated(cells: tf.Tensor) -> tf.Tensor:
    """Cells [..., X, Y, Z] and all their neighbours, at sides, edges and corners."""
    rank = len(cells.shape)
    for axis in range(rank - 3, rank):
        widths = [[1, 1] if other == axis else [0, 0] for other in range(rank)]
        padded = tf.pad(cells, widths)
        size = cells.shape[axis]
        before, after = (
            tf.gather(padded, tf.range(first, first + size), axis=axis) for first in (0, 2)
        )
        cells = cells | before | after
    return cells
