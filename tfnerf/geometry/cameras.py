"""Cameras to rays.

A camera looks along its negative z axis, with x to the right and y up (OpenGL); `camera_to_world`
[3, 4] holds these axes and the position in world coordinates. Pixels are counted from the top left,
columns to the right and rows down; pixel (0, 0) covers the square from (0, 0) to (1, 1).
Ray directions are not normalised: their camera z is -1, so the depth t of the point
`origin + t * direction` is its distance from the camera plane. Fisheye and equirectangular lenses,
which look aside and behind, have unit directions, and t is the distance from the camera.
N is the number of rays.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfnerf.geometry.lenses import LensKind, directions_through

_FARTHEST = 1e-6
"""What is nearer to infinity than this in NDC is a million times as far as the near plane."""


class Rays(NamedTuple):
    """Rays to render."""

    origins: tf.Tensor
    """[N, 3]"""
    directions: tf.Tensor
    """[N, 3], not normalised."""
    viewdirs: tf.Tensor
    """[N, 3], unit vectors in world coordinates, taken before any warp."""
    conditions: dict[str, tf.Tensor] | None = None
    """What the scene depends on beside rays, for example the time: a row [N, ...] per ray, by the
    name of the condition. None where it depends on nothing else."""

    def repeated(self, times: tf.Tensor | int) -> Rays:
        """Each ray so many times, one after the other."""
        rays: Rays = tf.nest.map_structure(
            lambda values: None if values is None else tf.repeat(values, times, axis=0), self
        )
        return rays

    def at(self, depths: tf.Tensor) -> tf.Tensor:
        """Points [N, S, 3] at depths [N, S]."""
        return (
            self.origins[:, tf.newaxis, :]
            + self.directions[:, tf.newaxis, :] * depths[:, :, tf.newaxis]
        )


def rows_of(rays: Rays, rows: Any) -> Rays:
    """Some of the rays."""
    some: Rays = tf.nest.map_structure(
        lambda values: None if values is None else values[rows], rays
    )
    return some


@dataclasses.dataclass(frozen=True)
class Cameras:
    """Cameras with lenses of one kind, V of them, all of one image size.

    Inside a graph the arrays may be tensors, and the size scalar tensors.
    """

    camera_to_world: np.ndarray
    """[V, 3, 4] float32, scene units."""
    focal: np.ndarray
    """[V, 2] float32, focal lengths in x and y, pixels."""
    center: np.ndarray
    """[V, 2] float32, principal point in x and y, pixels."""
    distortion: np.ndarray
    """[V, 4 or 8] float32, coefficients of the lens (`tfnerf.geometry.lenses`)."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    conditions: dict[str, np.ndarray] | None = None
    """What each view was taken under, for example its time: a row [V, ...] per view, by the name of
    the condition; it goes into the rays."""
    lens: LensKind = "perspective"

    @classmethod
    def pinhole(
        cls,
        camera_to_world: Any,
        height: int,
        width: int,
        focal: float,
        conditions: dict[str, np.ndarray] | None = None,
    ) -> Cameras:
        """Cameras without distortion that share one focal length, centred on the image.

        Args:
          camera_to_world: [V, 3, 4] or [V, 4, 4], scene units.
          height: pixels.
          width: pixels.
          focal: pixels.
          conditions: a row [V, ...] per view of each condition.
        """
        poses = np.asarray(camera_to_world, np.float32)[:, :3, :4]
        num_views = len(poses)
        return cls(
            camera_to_world=poses,
            focal=np.full([num_views, 2], focal, np.float32),
            center=np.tile(np.array([width / 2, height / 2], np.float32), [num_views, 1]),
            distortion=np.zeros([num_views, 4], np.float32),
            height=height,
            width=width,
            conditions=conditions,
        )

    def __len__(self) -> int:
        return len(self.camera_to_world)

    def __getitem__(self, views: Any) -> Cameras:
        """The cameras of a slice or of an array of view indices."""
        return dataclasses.replace(
            self,
            camera_to_world=self.camera_to_world[views],
            focal=self.focal[views],
            center=self.center[views],
            distortion=self.distortion[views],
            conditions=self._conditions(lambda values: values[views]),
        )

    def with_focal(self, focal: np.ndarray) -> Cameras:
        """The same with other focal lengths [V, 2], pixels."""
        return dataclasses.replace(self, focal=focal)

    def under(self, conditions: dict[str, np.ndarray] | None) -> Cameras:
        """The same with other conditions: a row [V, ...] per view of each, or None."""
        return dataclasses.replace(self, conditions=conditions)

    def resized(self, factor: float) -> Cameras:
        """The same views with `factor` times as many pixels a side, at least one."""
        height, width = (max(1, round(factor * side)) for side in (self.height, self.width))
        scale = np.array([width / self.width, height / self.height], np.float32)
        return dataclasses.replace(
            self, focal=self.focal * scale, center=self.center * scale, height=height, width=width
        )

    def rays(
        self, view: tf.Tensor, row: tf.Tensor, column: tf.Tensor, *, pixel_centers: bool
    ) -> Rays:
        """Rays through pixels.

        Args:
          view: [N] int, indices of cameras.
          row: [N] int, pixels.
          column: [N] int, pixels.
          pixel_centers: through the centres of the pixels, else through their top left corners.
        """
        offset = 0.5 if pixel_centers else 0.0
        bends = not isinstance(self.distortion, np.ndarray) or self.distortion.any()
        # Solving for where light came from in 32 bits would move rays by parts of a pixel.
        dtype = tf.float64 if bends else tf.float32

        def of_rays(values: Any) -> tf.Tensor:
            return tf.cast(tf.gather(values, view), dtype)

        pixels = tf.stack([tf.cast(column, dtype), tf.cast(row, dtype)], -1) + offset
        plane = (pixels - of_rays(self.center)) / of_rays(self.focal)
        distortion = of_rays(self.distortion) if bends else None
        camera_directions = tf.cast(directions_through(plane, distortion, self.lens), tf.float32)
        pose = tf.gather(self.camera_to_world, view)
        directions = tf.reduce_sum(camera_directions[:, tf.newaxis, :] * pose[:, :, :3], -1)
        viewdirs = directions / tf.norm(directions, axis=-1, keepdims=True)
        conditions = self._conditions(lambda values: tf.gather(values, view))
        return Rays(pose[:, :, 3], directions, viewdirs, conditions)

    def pixel_rays(self, view: int, pixels: tf.Tensor, *, pixel_centers: bool) -> Rays:
        """Rays through pixels of one camera.

        Args:
          view: index of the camera.
          pixels: [N] int, counted row by row.
          pixel_centers: as for `rays`.
        """
        return self.rays(
            tf.zeros_like(pixels) + view,
            pixels // self.width,
            pixels % self.width,
            pixel_centers=pixel_centers,
        )

    def image_rays(self, view: int, *, pixel_centers: bool) -> Rays:
        """Rays through all pixels of one camera, row by row.

        Args:
          view: index of the camera.
          pixel_centers: as for `rays`.

        Returns:
          Rays [H * W].
        """
        pixels = np.arange(self.height * self.width, dtype=np.int32)
        return self.pixel_rays(view, pixels, pixel_centers=pixel_centers)

    def _conditions(self, part: Callable[[Any], Any]) -> dict[str, Any] | None:
        """A part of each condition."""
        if self.conditions is None:
            return None
        return {name: part(values) for name, values in self.conditions.items()}


@dataclasses.dataclass(frozen=True)
class NDC:
    """Normalised device coordinates of a camera at the origin that looks along -z.

    They map its frustum beyond the plane z = -near to the cube [-1, 1]^3 (the paper's appendix C).
    """

    height: int
    """Pixels."""
    width: int
    """Pixels."""
    focal: float
    """Pixels."""
    near: float = 1.0
    """Scene units."""

    def warp(self, rays: Rays) -> Rays:
        """Rays in NDC: t from 0 to 1 runs from the near plane to infinity (equations 25 and 26).

        Args:
          rays: in world coordinates; each direction has z < 0.

        Returns:
          Rays with origins on the near plane and with the view directions they had in the world.
        """
        origins, directions = rays.origins, rays.directions
        shift = -(self.near + origins[:, 2:]) / directions[:, 2:]
        origins = origins + shift * directions
        ox, oy, oz = tf.unstack(origins, axis=-1)
        dx, dy, dz = tf.unstack(directions, axis=-1)
        scale_x = -self.focal / (self.width / 2)
        scale_y = -self.focal / (self.height / 2)
        ndc_origins = tf.stack([scale_x * ox / oz, scale_y * oy / oz, 1 + 2 * self.near / oz], -1)
        ndc_directions = tf.stack(
            [
                scale_x * (dx / dz - ox / oz),
                scale_y * (dy / dz - oy / oz),
                -2 * self.near / oz,
            ],
            -1,
        )
        return rays._replace(origins=ndc_origins, directions=ndc_directions)

    def depths(self, rays: Rays, ndc_depths: tf.Tensor) -> tf.Tensor:
        """Depths [N] in world coordinates, in lengths of the directions.

        Args:
          rays: N of them, before `warp`.
          ndc_depths: [N], along the warped rays, of which 1 is infinitely far (equation 25).
        """
        z, slope = rays.origins[:, 2], rays.directions[:, 2]
        to_near_plane = -(self.near + z) / slope
        # On the near plane z is -near.
        beyond = -self.near * ndc_depths / (tf.maximum(1 - ndc_depths, _FARTHEST) * slope)
        return to_near_plane + beyond

    def warp_points(self, points: tf.Tensor) -> tf.Tensor:
        """Points [N, 3] with z < 0 in NDC (equation 14)."""
        x, y, z = tf.unstack(points, axis=-1)
        scale_x, scale_y = -self.focal / (self.width / 2), -self.focal / (self.height / 2)
        return tf.stack([scale_x * x / z, scale_y * y / z, 1 + 2 * self.near / z], -1)

    def unwarp_points(self, points: np.ndarray) -> np.ndarray:
        """World coordinates of points [N, 3] in NDC with z < 1 (the inverse of equation 14)."""
        z = 2 * self.near / (points[:, 2] - 1)
        x = -points[:, 0] * z * self.width / (2 * self.focal)
        y = -points[:, 1] * z * self.height / (2 * self.focal)
        return np.stack([x, y, z], -1)
