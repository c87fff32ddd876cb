"""Telling the format of a scene by the names of its files."""

from __future__ import annotations

from pathlib import Path

from tfnerf.errors import UserError
from tfnerf.files import require_folder
from tfnerf.settings import Dataset

_TELLING_FILES: dict[Dataset, tuple[str, ...]] = {
    "blender": ("transforms_train.json",),
    "transforms": ("transforms.json",),
    "llff": ("poses_bounds.npy",),
    "tiny_nerf": ("tiny_nerf_data.npz",),
    "deepvoxels": ("train/*/intrinsics.txt",),
    "colmap": tuple(
        f"{place}cameras.{suffix}"
        for place in ("sparse/0/", "sparse/", "colmap/sparse/0/", "")
        for suffix in ("bin", "txt")
    ),
}
"""In the order in which they are looked for."""


def detect_dataset(data_dir: Path) -> Dataset:
    """The format of the scene in a folder.

    Raises:
      UserError: it is none that can be told.
    """
    if data_dir.suffix == ".npz":
        return "tiny_nerf"
    require_folder(data_dir)
    for name, patterns in _TELLING_FILES.items():
        if any(any(data_dir.glob(pattern)) for pattern in patterns):
            return name
    expected = ", ".join(patterns[0] for patterns in _TELLING_FILES.values())
    raise UserError(
        f"{data_dir}: found none of {expected}: give --dataset, or begin with python -m "
        "tfnerf.poses, which makes a scene of photographs"
    )
