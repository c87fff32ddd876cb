"""The sampler of the paper: coarse samples, then more where the coarse network sees something."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfnerf.fields.field import Field, Loss
from tfnerf.fields.model import NeRF
from tfnerf.geometry.cameras import Rays
from tfnerf.random_numbers import BatchRows, Stream
from tfnerf.settings import RenderSettings
from tfnerf.volume.samplers import Reduction
from tfnerf.volume.samples import Draws, Rendering, Samples, render_samples
from tfnerf.volume.sampling import resample_depths, stratified_depths

_LAST_INTERVAL = 1e10
"""Length of the interval behind the last sample: whatever density is there is opaque."""


@dataclasses.dataclass(frozen=True)
class Hierarchical:
    """Stratified samples, and the union of these with those that are drawn by their weights.

    Sections 4 and 5.2.
    """

    coarse: Field | None
    """The network whose weights say where to look; None: stratified samples only."""
    near: float | tf.Tensor
    """Scalar or [N, 1], depth of the first sample."""
    far: float | tf.Tensor
    """The same of the last."""
    num_coarse_samples: int
    num_fine_samples: int
    lindisp: bool = False
    """Coarse samples are spaced evenly in disparity instead of depth."""
    jitter: bool = True
    """Samples are drawn at random within their intervals while training."""
    density_noise_std: float = 0.0
    """Of the noise on raw densities while training."""

    def live(self, rays: Rays) -> None:
        """It cannot tell; see `Sampler`."""

    def __call__(self, rays: Rays, draws: Draws) -> Samples:
        """Samples, and what the coarse network sees; see `Sampler`."""
        depths = stratified_depths(
            self.near,
            self.far,
            tf.shape(rays.origins)[0],
            self.num_coarse_samples,
            lindisp=self.lindisp,
            uniforms=draws.jitter,
        )
        samples = Samples(depths, _intervals(depths))
        if self.coarse is None:
            return samples
        preview = render_samples(self.coarse, rays, samples, draws.sampling_noise)
        more = resample_depths(
            depths, preview.weights, self.num_fine_samples, uniforms=draws.resampling
        )
        depths = tf.sort(tf.concat([depths, more], -1), -1)
        return Samples(depths, _intervals(depths), preview=preview)

    @property
    def points_per_ray(self) -> int:
        """By the coarse and by the fine network together."""
        coarse = self.num_coarse_samples
        return coarse if self.coarse is None else 2 * coarse + self.num_fine_samples

    def draw(self, rows: BatchRows) -> Draws:
        """Random numbers for training; see `Sampler`."""
        draws = Draws()
        num_coarse, num_fine = self.num_coarse_samples, self.num_fine_samples
        if self.jitter:
            draws = draws._replace(jitter=rows.uniforms(num_coarse, Stream.JITTER))
            if self.coarse is not None:
                draws = draws._replace(resampling=rows.uniforms(num_fine, Stream.RESAMPLING))
        if self.density_noise_std:
            noise = self.density_noise_std * rows.normals(num_coarse, Stream.COARSE_NOISE)
            if self.coarse is None:
                return draws._replace(density_noise=noise)
            fine_noise = rows.normals(num_coarse + num_fine, Stream.FINE_NOISE)
            draws = draws._replace(
                sampling_noise=noise, density_noise=self.density_noise_std * fine_noise
            )
        return draws

    @property
    def loss_names(self) -> tuple[str, ...]:
        """One term where there is a coarse network."""
        return () if self.coarse is None else ("coarse",)

    def losses(self, rendering: Rendering, error: Reduction, mean: Reduction) -> list[Loss]:
        """The error of what the coarse network sees (section 5.3, equation 6)."""
        preview = rendering.preview
        return [] if preview is None else [Loss("coarse", 1.0, error(preview.rgb))]


def make_sampler(
    model: NeRF, near: float | tf.Tensor, far: float | tf.Tensor, settings: RenderSettings
) -> Hierarchical:
    """The sampler of these settings."""
    return Hierarchical(
        model.coarse if settings.num_fine_samples else None,
        near,
        far,
        settings.num_coarse_samples,
        settings.num_fine_samples,
        settings.lindisp,
        settings.jitter,
        settings.density_noise_std,
    )


def _intervals(depths: tf.Tensor) -> tf.Tensor:
    """From each of the depths [N, S] to the next; the last one reaches beyond everything."""
    last = tf.fill([tf.shape(depths)[0], 1], _LAST_INTERVAL)
    return tf.concat([depths[:, 1:] - depths[:, :-1], last], -1)
