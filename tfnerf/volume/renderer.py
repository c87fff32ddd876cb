"""Rays to colours: coarse pass, resampling, fine pass (section 5.2); whole images in chunks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.geometry.cameras import NDC, Cameras, Rays
from tfnerf.settings import RenderSettings
from tfnerf.volume.compositing import Composite, composite
from tfnerf.volume.sampling import resample_depths, stratified_depths


class Draws(NamedTuple):
    """The random numbers of one rendering; None renders without that randomness."""

    jitter: tf.Tensor | None = None
    """[N, coarse samples], uniform in [0, 1)."""
    resampling: tf.Tensor | None = None
    """[N, fine samples], uniform in [0, 1)."""
    coarse_noise: tf.Tensor | None = None
    """[N, coarse samples], added to the raw density of the coarse network."""
    fine_noise: tf.Tensor | None = None
    """[N, coarse + fine samples], the same for the fine network, in order of depth."""


class Rendering(NamedTuple):
    """What the coarse and the fine pass see; the fine one is the result."""

    coarse: Composite
    fine: Composite
    """The coarse one again where there are no fine samples."""


class Networks(Protocol):
    """What rendering needs of a `NeRF`: two functions of positions and view directions."""

    @property
    def coarse(self) -> Callable[..., tf.Tensor]:
        """Evaluated at the coarse samples; see `RadianceField.call`."""

    @property
    def finest(self) -> Callable[..., tf.Tensor]:
        """Evaluated at all samples, the source of final colours."""


def render_rays(
    model: Networks,
    rays: Rays,
    near: float | tf.Tensor,
    far: float | tf.Tensor,
    settings: RenderSettings,
    *,
    white_background: bool,
    draws: Draws = Draws(),
) -> Rendering:
    """Renders N rays, all at once.

    Args:
      model: the networks.
      rays: in the coordinates that the networks know (NDC where the scene is in NDC).
      near: scalar or [N, 1], depth of the first sample.
      far: the same for the last.
      settings: how many samples and how they are spaced.
      white_background: what is not opaque is white, else black.
      draws: random numbers; without them rendering is deterministic.
    """
    depths = stratified_depths(
        near,
        far,
        tf.shape(rays.origins)[0],
        settings.num_coarse_samples,
        lindisp=settings.lindisp,
        uniforms=draws.jitter,
    )
    coarse = _look(model.coarse, rays, depths, draws.coarse_noise, white_background)
    if settings.num_fine_samples == 0:
        return Rendering(coarse, coarse)
    samples = resample_depths(
        depths, coarse.weights, settings.num_fine_samples, uniforms=draws.resampling
    )
    depths = tf.sort(tf.concat([depths, samples], -1), -1)
    return Rendering(coarse, _look(model.finest, rays, depths, draws.fine_noise, white_background))


def query_points(
    model: Networks, points: tf.Tensor, viewdirs: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """What the fine network says of single points.

    Args:
      model: the networks.
      points: [N, 3], in the coordinates that the networks know.
      viewdirs: [N, 3], unit vectors along which the points are seen, in world axes.

    Returns:
      Colours [N, 3], 0 to 1, and densities [N], at least 0, per unit of these coordinates.
    """
    raw = model.finest(points[:, tf.newaxis, :], viewdirs)[:, 0]
    return tf.sigmoid(raw[:, :3]), tf.nn.relu(raw[:, 3])


def _look(
    field: Callable[..., tf.Tensor],
    rays: Rays,
    depths: tf.Tensor,
    noise: tf.Tensor | None,
    white_background: bool,
) -> Composite:
    """Evaluates a network at the given depths [N, S] of the rays and composites."""
    positions = (
        rays.origins[:, tf.newaxis, :]
        + rays.directions[:, tf.newaxis, :] * depths[:, :, tf.newaxis]
    )
    raw = field(positions, rays.viewdirs)
    density = raw[..., 3] if noise is None else raw[..., 3] + noise
    return composite(
        tf.sigmoid(raw[..., :3]),
        tf.nn.relu(density),
        depths,
        tf.norm(rays.directions, axis=-1),
        white_background=white_background,
    )


class Image(NamedTuple):
    """A rendered view, as NumPy arrays."""

    rgb: np.ndarray
    """[H, W, 3] float32, 0 to 1."""
    depth: np.ndarray
    """[H, W] float32, in the coordinates of the rays."""
    disparity: np.ndarray
    """[H, W] float32"""
    opacity: np.ndarray
    """[H, W] float32, 0 to 1."""


class ImageRenderer:
    """Renders whole images in chunks of rays, so that memory does not grow with the image.

    Args:
      model: the networks.
      near: depth where rays begin, scene units (NDC where the scene is in NDC).
      far: depth where they end.
      ndc: the warp to NDC, or None.
      settings: how rays are sampled.
      pixel_centers: rays pass through the centres of pixels, else through their corners.
      white_background: what is not opaque is white, else black.
    """

    def __init__(
        self,
        model: Networks,
        near: float,
        far: float,
        ndc: NDC | None,
        settings: RenderSettings,
        *,
        pixel_centers: bool,
        white_background: bool,
    ):
        self._rays_per_chunk = settings.rays_per_chunk

        def render_chunk(rays: Rays) -> tuple[tf.Tensor, ...]:
            rays = rays if ndc is None else ndc.warp(rays)
            rendering = render_rays(
                model, rays, near, far, settings, white_background=white_background
            )
            fine = rendering.fine
            return fine.rgb, fine.depth, fine.disparity, fine.opacity

        self._render_chunk = tf.function(render_chunk, jit_compile=uses_xla(settings))
        self._pixel_centers = pixel_centers

    def __call__(
        self,
        cameras: Cameras,
        view: int,
        progress: Any = None,
        *,
        viewdirs_of: int | None = None,
    ) -> Image:
        """Renders the view of one camera.

        Args:
          cameras: cameras.
          view: index of the one to render.
          progress: called with the number of rays after each chunk.
          viewdirs_of: index of the camera whose view directions give the colours; None: `view`.

        Raises:
          UserError: the networks answer with what is no colour.
        """
        height, width = cameras.height, cameras.width
        num_rays = height * width
        image = Image(
            np.empty([num_rays, 3], np.float32), *(np.empty(num_rays, np.float32) for _ in range(3))
        )
        chunk = min(self._rays_per_chunk, num_rays)
        for start in range(0, num_rays, chunk):
            count = min(chunk, num_rays - start)
            # The last chunk repeats the last pixel, so that one shape is compiled.
            pixels = np.minimum(np.arange(start, start + chunk), num_rays - 1)
            rays = self._rays(cameras[view : view + 1], pixels)
            if viewdirs_of is not None:
                lit = self._rays(cameras[viewdirs_of : viewdirs_of + 1], pixels)
                rays = rays._replace(viewdirs=lit.viewdirs)
            for result, part in zip(image, self._render_chunk(rays)):
                result[start : start + count] = part[:count]
            if progress is not None:
                progress(count)
        if not np.isfinite(image.rgb).all():
            raise UserError(
                f"view {view}: the networks render colours that are not finite; their weights are "
                "damaged, or the camera is"
            )
        return Image(*(part.reshape([height, width, *part.shape[1:]]) for part in image))

    def _rays(self, camera: Cameras, pixels: np.ndarray) -> Rays:
        """Rays of one camera through pixels [N], counted row by row."""
        return camera.rays(
            np.zeros(len(pixels), np.int32),
            pixels // camera.width,
            pixels % camera.width,
            pixel_centers=self._pixel_centers,
        )


def uses_xla(settings: RenderSettings) -> bool:
    """Whether `--jit_compile` means XLA on the devices of this machine."""
    if settings.jit_compile == "auto":
        return bool(tf.config.list_physical_devices("GPU"))
    return settings.jit_compile == "on"
