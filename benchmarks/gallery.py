"""Puts together the pictures of README and docs from what other commands made: `make gallery`.

python -m benchmarks.gallery --output_dir=runs
"""

from __future__ import annotations

import io
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
from absl import flags

from tfnerf import command_line
from tfnerf.files import with_home, write_file
from tfnerf.images import contact_sheet, write_png
from tfnerf.runs.folder import RunFolder

_OUTPUT_DIR = flags.DEFINE_string("output_dir", "runs", "Folder of run folders.")
_IMAGES = Path(__file__).parents[1] / "docs" / "images"
_NUM_VIEWS = 4
_MOVING_PICTURES = {
    "orbit.gif": "demo/renders/orbit_2x",
    "moving.gif": "moving/renders/still_time_sweep_2x",
    "relit.gif": "relit/renders/still_light_orbit_2x",
}
"""What they are made of, in the folder of run folders."""


def main() -> None:
    """Writes the pictures."""
    runs = with_home(_OUTPUT_DIR.value)
    write_png(_IMAGES / "demo.png", _held_out_views(RunFolder(runs / "demo").eval / "test"))
    for name, frames in _MOVING_PICTURES.items():
        write_file(_IMAGES / name, _moving_picture(runs / frames))


def _held_out_views(folder: Path) -> np.ndarray:
    """Colour, depth and error of some views, a row each, twice as large."""
    names = sorted(path.name for path in folder.glob("*.png"))
    rows = [
        [imageio.imread(folder / kind / name) for name in names[:_NUM_VIEWS]]
        for kind in ("", "depth", "error")
    ]
    return np.kron(contact_sheet(rows), np.ones([2, 2, 1], np.uint8))


def _moving_picture(folder: Path) -> bytes:
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
