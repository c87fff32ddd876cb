"""The surface of a density as triangles: marching cubes, slab by slab in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

_SLAB_THICKNESS = 16
"""Layers of voxels in memory at a time."""

Density = Callable[[np.ndarray], np.ndarray]
"""Points [N, 3] to densities [N]."""


class Box(NamedTuple):
    """A box along the axes."""

    low: np.ndarray
    """[3]"""
    high: np.ndarray
    """[3]"""


class Surface(NamedTuple):
    """Triangles, counterclockwise seen from where the density is low."""

    vertices: np.ndarray
    """[V, 3]"""
    faces: np.ndarray
    """[F, 3], indices of vertices."""


class Grid(NamedTuple):
    """Cubic voxels that fill a box."""

    origin: np.ndarray
    """[3], the corner with the lowest coordinates."""
    voxel: float
    """Side of a voxel."""
    num_voxels: tuple[int, int, int]
    """Along x, y and z."""

    @classmethod
    def filling(cls, box: Box, resolution: int) -> Grid:
        """With `resolution` voxels along the longest side of the box."""
        size = box.high - box.low
        voxel = float(size.max()) / resolution
        x, y, z = np.maximum(np.ceil(size / voxel - 1e-6), 1).astype(int)
        return cls(box.low, voxel, (int(x), int(y), int(z)))

    @property
    def num_points(self) -> int:
        """Of all corners of voxels."""
        x, y, z = self.num_voxels
        return (x + 1) * (y + 1) * (z + 1)

    def layer(self, x: int) -> np.ndarray:
        """The corners with the given index along x, [points, 3], z running fastest."""
        _, y, z = self.num_voxels
        indices = np.stack(np.meshgrid([x], np.arange(y + 1), np.arange(z + 1), indexing="ij"), -1)
        return self.origin + self.voxel * indices.reshape(-1, 3)

    def sample(self, density: Density, x: int) -> np.ndarray:
        """The density at the corners of a layer, [y + 1, z + 1] float32."""
        _, height, width = self.num_voxels
        return np.float32(density(self.layer(x))).reshape(height + 1, width + 1)


def extract_surface(
    density: Density,
    grid: Grid,
    threshold: float,
    progress: Callable[[int], object] | None = None,
) -> Surface:
    """The surface on which a density is `threshold` (marching cubes, Lewiner et al. 2003).

    Where the surface leaves the grid it stays open.

    Args:
      density: to be asked at the corners of voxels, one layer at a time.
      grid: where to look.
      threshold: the density of the surface.
      progress: called with the number of corners done.
    """
    vertices: list[np.ndarray] = []
    faces: list[np.ndarray] = []
    num_vertices = 0
    last: np.ndarray | None = None
    for first in range(0, grid.num_voxels[0], _SLAB_THICKNESS):
        end = min(first + _SLAB_THICKNESS, grid.num_voxels[0])
        layers = [] if last is None else [last]
        for x in range(first + len(layers), end + 1):
            layers.append(grid.sample(density, x))
            if progress is not None:
                progress(layers[-1].size)
        last = layers[-1]
        slab = _march(np.stack(layers), threshold)
        vertices.append(slab.vertices + np.array([first, 0, 0]))
        faces.append(slab.faces + num_vertices)
        num_vertices += len(slab.vertices)
    # Neighbouring slabs share the layer between them, so its vertices are there twice.
    unique, index = np.unique(np.concatenate(vertices), axis=0, return_inverse=True)
    joined = index.reshape(-1)[np.concatenate(faces)]
    a, b, c = joined.T
    flat = (a == b) | (b == c) | (c == a)  # where the surface passes through a corner
    return Surface(grid.origin + grid.voxel * unique, joined[~flat])


def occupied_box(density: Density, box: Box, threshold: float, resolution: int) -> Box | None:
    """The part of a box that holds all that is denser than a threshold; None if nothing is.

    Found on a grid of `resolution` voxels along the longest side: what is thinner than these may be
    cut off where it sticks out by more than two of them.
    """
    grid = Grid.filling(box, resolution)
    corners = []
    for x in range(grid.num_voxels[0] + 1):
        points = grid.layer(x)[grid.sample(density, x).ravel() > threshold]
        if len(points):
            corners += [points.min(0), points.max(0)]
    if not corners:
        return None
    low, high = np.min(corners, 0), np.max(corners, 0)
    margin = 2 * grid.voxel
    return Box(np.maximum(low - margin, box.low), np.minimum(high + margin, box.high))


def _march(values: np.ndarray, threshold: float) -> Surface:
    """The surface in an array of densities [X, Y, Z], in units of voxels."""
    from skimage.measure import marching_cubes

    if not values.min() < threshold < values.max():
        return Surface(np.zeros([0, 3]), np.zeros([0, 3], int))
    # What scikit-image calls ascent turns the triangles so that they face low values.
    vertices, faces, _, _ = marching_cubes(values, threshold, gradient_direction="ascent")
    return Surface(vertices.astype(np.float64), faces)
