"""Puts together the README's pictures from what the other commands made of the demo.

python -m benchmarks.gallery --run_dir=runs/demo
"""

from __future__ import annotations

import io
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from absl import flags

from tfnerf import command_line
from tfnerf.files import write_file
from tfnerf.images import contact_sheet, write_png
from tfnerf.runs.folder import RunFolder

_RUN_DIR = flags.DEFINE_string("run_dir", "runs/demo", "Evaluated, with an orbit rendered.")
_IMAGES = Path(__file__).parents[1] / "docs" / "images"
_NUM_VIEWS = 4


def main() -> None:
    """Writes the README's pictures."""
    folder = RunFolder(Path(_RUN_DIR.value))
    write_png(_IMAGES / "demo.png", _held_out_views(folder.eval / "test"))
    write_file(_IMAGES / "orbit.gif", _orbit(folder.renders / "orbit_2x"))


def _held_out_views(folder: Path) -> np.ndarray:
    """Colour, depth and error of some views, a row each, twice as large."""
    names = sorted(path.name for path in folder.glob("*.png"))
    rows = [
        [imageio.imread(folder / kind / name) for name in names[:_NUM_VIEWS]]
        for kind in ("", "depth", "error")
    ]
    return np.kron(contact_sheet(rows), np.ones([2, 2, 1], np.uint8))


def _orbit(folder: Path) -> bytes:
    """Colour and depth side by side, moving."""
    frames = [
        np.concatenate([imageio.imread(folder / kind / path.name) for kind in ("rgb", "depth")], 1)
        for path in sorted((folder / "rgb").glob("*.png"))
    ]
    buffer = io.BytesIO()
    imageio.imwrite(buffer, frames, extension=".gif", duration=50, loop=0)
    return buffer.getvalue()


if __name__ == "__main__":
    command_line.run(main)
