"""What every data set is read into."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.geometry.cameras import NDC, Cameras, Rays
from tfnerf.geometry.conditions import Condition
from tfnerf.geometry.poses import scale_of

_DEPTH_MARGIN = 1.25
"""How far pictures of depths reach, against the farthest depth that is expected."""


@dataclasses.dataclass(frozen=True)
class Views:
    """Images and the cameras that took them."""

    images: np.ndarray
    """[V, H, W, 3 or 4], unsigned integers; the fourth channel is alpha, not premultiplied.
    [V, 0, 0, 3] where cameras are all that is known."""
    white_level: int
    """The integer that stands for 1 in `images`."""
    cameras: Cameras
    names: tuple[str, ...]
    """[V], names of the image files without their folder."""
    indices: np.ndarray | None = None
    """[V] int, which views of the capture they are; where splits are read apart, which of theirs.
    None becomes 0 to V - 1."""
    masks: np.ndarray | None = None
    """[V, H, W] bool, which pixels are trained on and measured; None: all."""

    def __post_init__(self) -> None:
        if self.indices is None:
            object.__setattr__(self, "indices", np.arange(len(self.images)))

    def __len__(self) -> int:
        return len(self.images)

    @property
    def has_images(self) -> bool:
        """Whether there are photographs, and not cameras alone."""
        return self.images.size > 0

    def select(self, indices: Sequence[int] | np.ndarray) -> Views:
        """Some of the views, in the given order."""
        indices = np.asarray(indices, int)
        return dataclasses.replace(
            self,
            images=self.images[indices],
            cameras=self.cameras[indices],
            indices=np.asarray(self.indices)[indices],
            names=tuple(self.names[index] for index in indices),
            masks=None if self.masks is None else self.masks[indices],
        )


@dataclasses.dataclass(frozen=True)
class Scene:
    """A scene to train on, in scene units and axes."""

    name: str
    splits: Mapping[str, Views]
    """The views of "train" and, where the data has them, "val" and "test"."""
    near: float
    """Depth where rays begin; scene units, NDC with `ndc`."""
    far: float
    """Depth where rays end."""
    white_background: bool
    pixel_centers: bool
    ndc: NDC | None = None
    """The warp to NDC of a forward-facing scene."""
    bounds: tuple[float, float] | None = None
    """Nearest and farthest depth of what the cameras see, scene units; None: near and far."""
    scene_to_world: np.ndarray = dataclasses.field(default_factory=lambda: np.eye(4))
    """[4, 4] float64, from scene units and axes to those of the files."""

    def __post_init__(self) -> None:
        if "train" in self.splits and not len(self.train):
            raise UserError(f"{self.name}: no training views; --holdout_every=0 holds none out")
        poses = [views.cameras.camera_to_world for views in self.splits.values()]
        numbers = [np.asarray([self.near, self.far]), self.scene_to_world, *poses]
        if not all(np.isfinite(values).all() for values in numbers):
            raise UserError(
                f"{self.name}: positions or depths are too large or too small for 32 bits, once "
                "the scene is scaled as its cameras and bounds say"
            )
        if not self.near < self.far:
            raise UserError(
                f"{self.name}: near is {self.near:g} and far {self.far:g}, expected near < far; "
                "set --near and --far"
            )

    @property
    def train(self) -> Views:
        """The views to train on."""
        return self.splits["train"]

    @property
    def depth_bounds(self) -> tuple[float, float]:
        """Nearest and farthest depth of what the cameras see, scene units."""
        return self.bounds or (self.near, self.far)

    @property
    def world_scale(self) -> float:
        """World units (of the files) a scene unit."""
        return scale_of(self.scene_to_world)

    @property
    def depth_scale(self) -> float:
        """World units a unit of depth along rays; depths in NDC stay as they are."""
        return 1.0 if self.ndc else self.world_scale

    @property
    def world_depth_per_level(self) -> float:
        """World units that a level of a 16-bit picture of depths stands for."""
        return _DEPTH_MARGIN * self.depth_bounds[1] * self.world_scale / 65535

    @property
    def conditions(self) -> dict[str, Condition]:
        """What the scene depends on beside rays, by name, as the training views have it."""
        given = self.train.cameras.conditions or {}
        return {name: self._condition(name, rows) for name, rows in given.items()}

    def _condition(self, name: str, rows: np.ndarray) -> Condition:
        condition = Condition.of(name, rows)
        if name != "appearance":
            return condition
        return condition._replace(least=0.0, named=dict(zip(self.train.names, rows.tolist())))

    def known_views(self, views: Views) -> Views:
        """Those that show nothing beyond what training views do: no later time, no nearer light."""
        known = np.ones(len(views), bool)
        for name, condition in self.conditions.items():
            known &= condition.knows((views.cameras.conditions or {})[name])
        return views if known.all() else views.select(np.flatnonzero(known))

    @property
    def held_out(self) -> Views | None:
        """The views to test on; None where there are none."""
        test = self.splits.get("test")
        return test if test is not None and len(test) else None


def to_colors(pixels: Any, level: int, *, white_background: bool) -> tf.Tensor:
    """Stored pixels to colours.

    Args:
      pixels: [..., 3 or 4] unsigned integers.
      level: the integer that stands for 1.
      white_background: sets what is transparent on white; otherwise alpha is dropped.

    Returns:
      [..., 3] float32, 0 to 1.
    """
    colors = tf.cast(pixels, tf.float32) / level
    if colors.shape[-1] == 3:
        return colors
    rgb, alpha = colors[..., :3], colors[..., 3:]
    return rgb * alpha + (1 - alpha) if white_background else rgb


def true_colors(scene: Scene, views: Views, index: int) -> np.ndarray:
    """What the camera of a view saw, [H, W, 3] float32, on the background of the scene."""
    pixels = views.images[index]
    return np.asarray(to_colors(pixels, views.white_level, white_background=scene.white_background))


def some_pixels(scene: Scene, views: Views, count: int) -> tuple[Rays, np.ndarray | None]:
    """Rays through pixels spread over all of some views that no mask covers.

    Returns:
      The rays [N], and the colours [N, 3] that they should have; None where the views came without
      photographs.
    """
    cameras = views.cameras
    height, width = cameras.height, cameras.width
    if views.masks is None:
        chosen = np.linspace(0, len(views) * height * width - 1, count).astype(np.int64)
    else:
        counting = np.flatnonzero(views.masks)
        chosen = counting[np.linspace(0, len(counting) - 1, count).astype(np.int64)]
    view, row, column = np.unravel_index(chosen, (len(views), height, width))
    rays = cameras.rays(view, row, column, pixel_centers=scene.pixel_centers)
    if not views.has_images:
        return rays, None
    pixels = views.images[view, row, column]
    colors = to_colors(pixels, views.white_level, white_background=scene.white_background)
    return rays, colors.numpy()


def spread(num_views: int, num_wanted: int) -> np.ndarray:
    """Indices of at most so many views, evenly spread over all."""
    return np.unique(np.linspace(0, num_views - 1, min(num_views, num_wanted)).astype(int))
