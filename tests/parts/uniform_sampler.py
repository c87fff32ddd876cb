"""An exercise: another sampler, as a file of its own."""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from tfnerf.fields.field import Loss
from tfnerf.fields.model import NeRF
from tfnerf.geometry.cameras import Rays
from tfnerf.random_numbers import BatchRows, Stream
from tfnerf.settings import RenderSettings
from tfnerf.volume.samplers import Reduction
from tfnerf.volume.samples import Draws, Rendering, Samples

_NUM_SAMPLES = 32


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Evenly spaced samples; those farther than halfway are passed over."""

    near: float
    far: float
    num_samples: int

    loss_names = ()

    def live(self, rays: Rays) -> None:
        return None

    def __call__(self, rays: Rays, draws: Draws) -> Samples:
        step = (self.far - self.near) / self.num_samples
        offsets = 0.5 if draws.jitter is None else draws.jitter
        shape = [tf.shape(rays.origins)[0], self.num_samples]
        depths = self.near + step * (tf.range(self.num_samples, dtype=tf.float32) + offsets)
        depths = tf.broadcast_to(depths, shape)
        live = depths < 0.5 * (self.near + self.far)
        return Samples(depths, tf.fill(shape, step), live)

    @property
    def points_per_ray(self) -> int:
        return self.num_samples

    def draw(self, rows: BatchRows) -> Draws:
        return Draws(jitter=rows.uniforms(self.num_samples, Stream.JITTER))

    def losses(self, rendering: Rendering, error: Reduction, mean: Reduction) -> list[Loss]:
        return []


def make_sampler(model: NeRF, near: float, far: float, settings: RenderSettings) -> Uniform:
    return Uniform(near, far, _NUM_SAMPLES)
