"""The renderer of a scene: where its networks, sampler, warp and background meet."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.fields.field import Conditions, Radiance
from tfnerf.fields.model import NeRF
from tfnerf.fingerprint import fingerprint
from tfnerf.geometry.cameras import NDC, Rays
from tfnerf.scenes import Scene
from tfnerf.settings import RenderSettings
from tfnerf.volume.compositing import Composite, sample_effects, sample_weights
from tfnerf.volume.samplers import Sampler, make_sampler
from tfnerf.volume.samples import Draws, Rendering, Samples, render_samples
from tfnerf.volume.shadows import lit_by

_LITTLE = 0.5
"""Opacity up to which a ray has no depth."""


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
        """The renderer of a scene that a model has learned, or is to learn.

        Raises:
          UserError: the scene begins at depth 0 and samples should be spaced in disparity.
        """
        if settings.lindisp and scene.near <= 0:
            raise UserError(f"--lindisp: needs near > 0, found near {scene.near:g}")
        sampler = make_sampler(model, scene.near, scene.far, settings)
        return cls(model, sampler, scene.ndc, scene.white_background, scene.pixel_centers)

    def render(self, rays: Rays, draws: Draws = Draws()) -> Rendering:
        """What N rays see, all at once.

        Args:
          rays: in scene coordinates.
          draws: random numbers; without them rendering is deterministic.
        """
        warped = self.warped(rays)
        live = self.sampler.live(warped)
        if live is None:
            rendering = self._render_live(warped, draws)
        else:
            rendering = self._render_some(live, warped, draws)
        return rendering.on_white() if self.white_background else rendering

    def warped(self, rays: Rays) -> Rays:
        """Rays in scene coordinates, in those of the networks."""
        return rays if self.warp is None else self.warp.warp(rays)

    def scene_depth(self, rays: Rays, final: Composite) -> tf.Tensor:
        """How far what N rays see is, [N], scene units in lengths of their directions.

        It is the mean depth of what is seen, and 0 for rays that see little; with a warp to NDC it
        is what that mean is in scene coordinates.

        Args:
          rays: in scene coordinates.
          final: what they see.
        """
        opaque = final.opacity > _LITTLE
        depth = final.depth / tf.where(opaque, final.opacity, 1.0)
        if self.warp is not None:
            depth = self.warp.depths(rays, depth)
        return tf.where(opaque, depth, 0.0)

    def _render_some(self, live: tf.Tensor, rays: Rays, draws: Draws) -> Rendering:
        """As `_render_live`, for rays of which only those that are `live` [N] meet anything."""
        rows = tf.where(live)
        num_rays = tf.shape(live, tf.int64)

        def live_ones(values: tf.Tensor | None) -> tf.Tensor | None:
            return None if values is None else tf.gather_nd(values, rows)

        def among_all(values: tf.Tensor | None) -> tf.Tensor | None:
            if values is None:
                return None
            return tf.scatter_nd(
                rows, values, tf.concat([num_rays, tf.shape(values, tf.int64)[1:]], 0)
            )

        seen = self._render_live(*tf.nest.map_structure(live_ones, (rays, draws)))
        final, samples = tf.nest.map_structure(among_all, (seen.final, seen.samples))
        return Rendering(final, samples, seen.num_live)

    def _render_live(self, rays: Rays, draws: Draws) -> Rendering:
        """What rays in the coordinates of the networks see before black."""
        samples = self.sampler(rays, draws)
        shading = self._lit if self.model.final.has_shadow_hints else None
        final = render_samples(self.model.final, rays, samples, draws.density_noise, shading)
        return Rendering(final, samples, tf.shape(rays.origins)[0])

    def effects(self, rays: Rays, samples: Samples) -> tf.Tensor:
        """By how much the pixels of N rays would differ without each of S samples, [N, S].

        Args:
          rays: in the coordinates of the networks.
          samples: on the rays.
        """
        shape = tf.shape(samples.depths)
        of_rays = rays.repeated(shape[1])
        seen = self.radiance(
            tf.reshape(rays.at(samples.depths), [-1, 3]), of_rays.viewdirs, of_rays.conditions
        )
        lengths = samples.intervals * tf.norm(rays.directions, axis=-1, keepdims=True)
        return sample_effects(
            tf.reshape(seen.rgb, [*tf.unstack(shape), 3]),
            sample_weights(tf.reshape(seen.density, shape), lengths),
            1.0 if self.white_background else 0.0,
        )

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
        return self.radiance(warped, viewdirs, conditions)

    def radiance(
        self, points: tf.Tensor, viewdirs: tf.Tensor, conditions: Conditions | None = None
    ) -> Radiance:
        """As `query`, of points in the coordinates of the networks."""
        if self.model.final.has_shadow_hints:
            conditions = self._lit(points, conditions)
        return self.model.final.radiance(points, viewdirs, conditions)

    def _lit(self, points: tf.Tensor, conditions: Conditions | None) -> Conditions:
        """Conditions of points [M, 3] with the light as it is from there."""
        assert self.model.grid is not None
        return lit_by(self.model.grid, points, conditions)

    @property
    def fingerprint(self) -> str:
        """Of all that pictures depend on beside the cameras.

        Pictures with the same fingerprint need not be rendered again.
        """
        return fingerprint(self)
