"""The picture of a grid."""

from __future__ import annotations

import numpy as np

from tfnerf.fields.density_grid import DensityGrid
from tfnerf.train.grid_picture import grid_sheet


def test_an_opaque_cell_is_bright_where_it_is() -> None:
    grid = DensityGrid(10)
    grid.box.corners.assign([[0.0] * 3, [1.0, 2.0, 3.0]])
    density = np.zeros([10, 10, 10])
    density[1, 3, 8] = 1e3
    grid.density.assign(density)
    sheet = grid_sheet(grid).astype(int).sum(-1)
    assert sheet.shape == (10, 38)
    background = sheet[0, 0]
    # The second axis up, rows down: along x it shows y and z, along y x and z, along z x and y.
    bright = {(1, 3), (1, 14 + 1), (6, 28 + 1)}
    inside = np.delete(np.arange(38), np.r_[10:14, 24:28])
    found = {(row, column) for row in range(10) for column in inside if sheet[row, column] > 600}
    assert found == bright
    assert all(sheet[row, column] == background for row, column in {(9, 3), (0, 14), (0, 28)})
