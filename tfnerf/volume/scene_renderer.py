"""The renderer of a scene: where its networks, sampler, warp and background meet."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import tensorflow as tf

from tfnerf.fields.field import Conditions, Radiance
from tfnerf.fields.model import NeRF
from tfnerf.fingerprint import fingerprint
from tfnerf.geometry.cameras import NDC, Rays
from tfnerf.scenes import Scene
from tfnerf.settings import RenderSettings
from tfnerf.volume.compositing import Composite
from tfnerf.volume.samplers import Sampler, make_sampler
from tfnerf.volume.samples import Draws, render_samples


class Rendering(NamedTuple):
    """What rays see."""

    final: Composite
    preview: Composite | None
    """What the sampler saw where it looked first; None if it did not look."""
    num_live: tf.Tensor
    """Scalar int, rays that were looked at; the others meet nothing."""


@dataclasses.dataclass(frozen=True)
class SceneRenderer:
    """Rays and points of a scene to what is seen there: training, pictures, meshes and exports.

    Rays and points are in scene units and axes, and so are depths; with a warp they are in NDC.
    """

    model: NeRF
    sampler: Sampler
    warp: NDC | None
    """From scene coordinates to those of the networks; None: they are the same."""
    white_background: bool
    """What is not opaque is white, else black."""
    pixel_centers: bool
    """Rays pass through the centres of pixels, else through their top left corners."""

    @classmethod
    def of(cls, scene: Scene, model: NeRF, settings: RenderSettings) -> SceneRenderer:
        """The renderer of a scene that a model has learned, or is to learn."""
        sampler = make_sampler(model, scene.near, scene.far, settings)
        return cls(model, sampler, scene.ndc, scene.white_background, scene.pixel_centers)

    def render(self, rays: Rays, draws: Draws = Draws()) -> Rendering:
        """What N rays see, all at once.

        Args:
          rays: in scene coordinates.
          draws: random numbers; without them rendering is deterministic.
        """
        warped = rays if self.warp is None else self.warp.warp(rays)
        live = self.sampler.live(warped)
        if live is None:
            final, preview = self._render_live(warped, draws)
            num_live = tf.shape(rays.origins)[0]
        else:
            final, preview = self._render_some(live, warped, draws)
            num_live = tf.math.count_nonzero(live, dtype=tf.int32)
        if self.white_background:
            final = final.on_white()
            preview = None if preview is None else preview.on_white()
        return Rendering(final, preview, num_live)

    def _render_some(
        self, live: tf.Tensor, rays: Rays, draws: Draws
    ) -> tuple[Composite, Composite | None]:
        """As `_render_live`, for rays of which only those that are `live` [N] meet anything."""
        rows = tf.where(live)
        num_rays = tf.shape(live, tf.int64)

        def live_ones(values: tf.Tensor | None) -> tf.Tensor | None:
            return None if values is None else tf.gather_nd(values, rows)

        some = tf.nest.map_structure(live_ones, (rays, draws))

        def among_all(values: tf.Tensor | None) -> tf.Tensor | None:
            if values is None:
                return None
            shape = tf.concat([num_rays, tf.shape(values, tf.int64)[1:]], 0)
            return tf.scatter_nd(rows, values, shape)

        seen: tuple[Composite, Composite | None] = tf.nest.map_structure(
            among_all, self._render_live(*some)
        )
        return seen

    def _render_live(self, rays: Rays, draws: Draws) -> tuple[Composite, Composite | None]:
        """What rays in the coordinates of the networks see before black, and the preview."""
        samples = self.sampler(rays, draws)
        final = render_samples(self.model.final, rays, samples, draws.density_noise)
        return final, samples.preview

    def query(
        self, points: tf.Tensor, viewdirs: tf.Tensor, conditions: Conditions | None = None
    ) -> Radiance:
        """What is at single points.

        Args:
          points: [M, 3], in scene coordinates.
          viewdirs: [M, 3], unit vectors along which the points are seen, in scene axes.
          conditions: of each point.

        Returns:
          Colours and densities, the latter per unit of the coordinates of the networks.
        """
        warped = points if self.warp is None else self.warp.warp_points(points)
        return self.model.final.radiance(warped, viewdirs, conditions)

    @property
    def fingerprint(self) -> str:
        """Of all that pictures depend on beside the cameras.

        Pictures with the same fingerprint need not be rendered again.
        """
        return fingerprint(self)
