"""tiny_nerf_data.npz, the small lego scene of the original's notebook."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfnerf.errors import UserError, first_line
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.poses import check_poses
from tfnerf.scenes.scene import Scene, Views
from tfnerf.settings import SceneSettings

_NEAR, _FAR = 2.0, 6.0
_NUM_TRAINING_VIEWS = 100
_LEVEL = 65535


def load(settings: SceneSettings, splits: Sequence[str]) -> Scene:
    """Reads the file; the first 100 views are for training, the others are held out."""
    path = Path(settings.data_dir)
    images, poses, focal = _read(path)
    height, width = images.shape[1:3]
    views = Views(
        images=np.rint(images * _LEVEL).astype(np.uint16),
        white_level=_LEVEL,
        cameras=Cameras.pinhole(poses, height, width, focal),
        names=tuple(f"{index:03d}" for index in range(len(images))),
    )
    indices = np.arange(len(images))
    held_out = indices[_NUM_TRAINING_VIEWS:]
    parts = {"train": indices[:_NUM_TRAINING_VIEWS], "val": held_out, "test": held_out}
    return Scene(
        name=path.stem,
        splits={split: views.select(parts[split]) for split in splits},
        near=_NEAR,
        far=_FAR,
        white_background=settings.white_background,
        pixel_centers=settings.pixel_centers,
    )


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """Images [V, H, W, 3] float, 0 to 1; poses [V, 3, 4]; focal length, pixels."""
    if path.is_dir():
        path = path / "tiny_nerf_data.npz"
    try:
        with np.load(path, allow_pickle=False) as content:
            images, poses, focal = (content[name] for name in ("images", "poses", "focal"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except KeyError as error:
        raise UserError(f"{path}: expected arrays images, poses and focal: {error}") from None
    except Exception as error:  # damaged archives are met with errors of many kinds
        raise UserError(f"{path}: not readable as .npz: {first_line(error)}") from None
    if not all(array.dtype.kind in "fiu" for array in (images, poses, focal)):
        raise UserError(f"{path}: expected images, poses and focal to be numbers")
    if images.ndim != 4 or images.shape[-1] != 3 or poses.shape != (len(images), 4, 4):
        raise UserError(
            f"{path}: found images {images.shape} and poses {poses.shape}, expected [V, H, W, 3] "
            "and [V, 4, 4]"
        )
    if not images.size or not (images.min() >= 0 and images.max() <= 1):
        raise UserError(f"{path}: expected images of values from 0 to 1")
    if focal.size != 1 or not np.isfinite(focal).all() or focal.item() <= 0:
        raise UserError(f"{path}: focal is {focal}, expected one positive number")
    checked = check_poses(poses, [f"{path}: view {view}" for view in range(len(poses))])
    return images, checked, float(focal.item())
