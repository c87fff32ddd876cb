"""Turns a trained run into a coloured mesh in world coordinates: mesh.ply and mesh.glb.

What time, light or appearance it has stands in the names.

python -m tfnerf.mesh --run_dir=runs/lego
python -m tfnerf.mesh --run_dir=runs/moving --time=0.5
"""

from __future__ import annotations

import logging

import numpy as np
from absl import flags

from tfnerf import command_line
from tfnerf.condition_flags import chosen_conditions, chosen_suffix, define_condition_flags
from tfnerf.errors import UserError
from tfnerf.flags import define_run_flags, run_arguments

_log = logging.getLogger("tfnerf.mesh")
_RESOLUTION = flags.DEFINE_integer(
    "resolution", 256, "Voxels along the longest side of what is there.", lower_bound=2
)
_DENSITY_THRESHOLD = flags.DEFINE_float(
    "density_threshold",
    25.0,
    "Density of the surface, per scene unit (or unit of NDC).",
    lower_bound=0,
)
_BOUNDS = flags.DEFINE_list(
    "bounds",
    None,
    "Where to look: x, y, z of two corners in scene units; default: around what the cameras look "
    "at.",
)
_SMALLEST_PIECE = flags.DEFINE_float(
    "smallest_piece",
    0.0,
    "Leave out pieces with a smaller fraction of all triangles, such as floaters; try 0.01.",
    lower_bound=0,
    upper_bound=1,
)


def main() -> None:
    """Writes mesh.ply and mesh.glb."""
    corners = _corners()
    if flags.FLAGS.num_samples is not None:
        raise UserError("--num_samples: a mesh is made of densities, not of samples along rays")
    command_line.import_tensorflow()
    from tfnerf.files import write_file
    from tfnerf.geometry.conditions import choose
    from tfnerf.mesh.build import build_mesh, to_bytes
    from tfnerf.mesh.surface import Box
    from tfnerf.runs.trained import TrainedRun

    run = TrainedRun.load(**run_arguments())
    scene = run.scene_without_images()
    mesh = build_mesh(
        run.renderer(scene),
        scene,
        resolution=_RESOLUTION.value,
        threshold=_DENSITY_THRESHOLD.value,
        bounds=None if corners is None else Box(*corners),
        smallest_piece=_SMALLEST_PIECE.value,
        conditions=choose(scene.conditions, chosen_conditions(), 1),
    )
    stem = f"mesh{chosen_suffix()}{run.suffix}"
    files = {f"{stem}.{kind}": to_bytes(mesh, kind) for kind in ("ply", "glb")}
    for name, content in files.items():
        write_file(run.folder.path / name, content)
    low, high = mesh.bounds.round(3).tolist()
    _log.info(
        "%d vertices, %d triangles between %s and %s (units of the scene's files): %s",
        len(mesh.vertices),
        len(mesh.faces),
        low,
        high,
        run.folder.path / f"{stem}.{{ply,glb}}",
    )


def _corners() -> np.ndarray | None:
    """--bounds as two corners [2, 3]; UserError if they are none."""
    if _BOUNDS.value is None:
        return None
    try:
        corners = np.array([float(number) for number in _BOUNDS.value]).reshape(2, 3)
    except ValueError:
        corners = np.zeros([2, 3])
    if not np.isfinite(corners).all() or not (corners[0] < corners[1]).all():
        raise UserError(
            f"--bounds={','.join(_BOUNDS.value)}: expected x0,y0,z0,x1,y1,z1 with x0 < x1 and so on"
        )
    return corners


if __name__ == "__main__":
    define_run_flags()
    define_condition_flags()
    command_line.run(main)
