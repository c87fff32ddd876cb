"""The sampler that looks up a density grid instead of asking a coarse network."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfnerf.fields.density_grid import DensityGrid
from tfnerf.fields.field import Loss
from tfnerf.fields.model import NeRF
from tfnerf.geometry.cameras import Rays
from tfnerf.random_numbers import BatchRows, Stream
from tfnerf.settings import RenderSettings
from tfnerf.volume.compositing import distortion, sample_weights
from tfnerf.volume.samplers import Reduction
from tfnerf.volume.samples import Draws, Rendering, Samples
from tfnerf.volume.sampling import equal_shares

_LITTLE = 1e-6
"""Weight of a ray below which its samples are spread evenly."""
_OCCLUDED = 0.01
"""Share of the light of a ray below which nothing is looked for behind."""
_FAINT = 1e-4
"""Weight up to which a sample of a picture has no colour."""
_THIN = 0.01
"""Opacity below which rays of a picture need fewer samples."""
_EXPLORED = 0.05
"""Of the probability while training, spread over empty and hidden places too."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Few samples, where the weight is that a ray through the grid has (section 5.2).

    The part of a ray that lies in the box of the grid is cut into intervals of equal probability.
    A share of it is spread evenly over the occupied cells that light reaches, because the grid
    knows their densities roughly; while training a little goes everywhere, or a cell once empty
    would never be looked at again. Each sample stands for its interval. Rays that meet no occupied
    cell are left out.
    """

    grid: DensityGrid
    near: float | tf.Tensor
    """Scalar or [N, 1], depth where rays begin."""
    far: float | tf.Tensor
    """The same where they end."""
    num_probes: int
    """Places on each ray that the grid is looked up at."""
    num_samples: int
    even_share: float
    """Of the probability, spread over what is occupied and lit; from 0 to 1."""
    lindisp: bool = False
    """Probes are spaced evenly in the mean of depth and disparity instead of depth."""
    jitter: bool = True
    """Probes and samples are drawn at random within their intervals while training."""
    density_noise_std: float = 0.0
    """Of the noise on raw densities while training."""
    distortion_weight: float = 0.0
    """Of the loss on weight that is spread along rays."""

    def __call__(self, rays: Rays, draws: Draws) -> Samples:
        """Samples of rays that are live; see `Sampler`."""
        begin, end = self._span(rays)
        fractions = tf.range(self.num_probes + 1, dtype=tf.float32)[tf.newaxis] / self.num_probes
        edges = self._depths(begin, end, fractions)
        lengths = edges[:, 1:] - edges[:, :-1]
        offset = 0.5 if draws.jitter is None else draws.jitter[:, :1]
        probes = edges[:, :-1] + lengths * offset
        densities, occupied = self.grid.look_along(rays, probes)
        speed = tf.norm(rays.directions, axis=-1, keepdims=True)
        weights = sample_weights(densities, lengths * speed)
        probability = self._probability(weights, occupied, exploring=draws.jitter is not None)
        if draws.jitter is None:
            shares = equal_shares(probability, 2 * self.num_samples)
            filled = tf.where(occupied, lengths, 0.0)
            samples = Samples(
                self._depths(begin, end, shares[:, 1::2]), _sums_between(filled, shares[:, ::2])
            )
            # Without jitter training cannot be told from pictures, and has to know all colours.
            return self._spared(samples, tf.reduce_sum(weights, -1)) if self.jitter else samples
        ends = self._depths(begin, end, equal_shares(probability, self.num_samples))
        intervals = ends[:, 1:] - ends[:, :-1]
        return Samples(ends[:, :-1] + intervals * draws.jitter[:, 1:], intervals)

    def _spared(self, samples: Samples, opacity: tf.Tensor) -> Samples:
        """Samples of pictures [N, S], fewer on rays whose opacity [N] is little by the grid.

        There one of three neighbours stands for all of them.
        """
        thin = (opacity < _THIN)[:, tf.newaxis]
        merged = np.zeros([self.num_samples] * 2, np.float32)
        for group in np.array_split(np.arange(self.num_samples), -(-self.num_samples // 3)):
            merged[group, group[len(group) // 2]] = 1
        return samples._replace(
            intervals=tf.where(thin, samples.intervals @ merged, samples.intervals),
            live=~thin | merged.any(0),
            faint=tf.fill(tf.shape(opacity), _FAINT),
        )

    def _probability(self, weights: tf.Tensor, occupied: tf.Tensor, exploring: bool) -> tf.Tensor:
        """Of a sample, [N, B] up to a factor, from the weights [N, B] that the grid gives."""
        even = tf.cast(occupied & self._lit(weights), tf.float32)
        weights = _normalized(_blurred(weights))
        weights += self.even_share * (_normalized(even) - weights)
        return weights + (_LITTLE + exploring * _EXPLORED) / self.num_probes

    def _lit(self, weights: tf.Tensor) -> tf.Tensor:
        """Where [N, B] light is left, or was a cell before: that is how deep surfaces may lie."""
        passed = tf.cumsum(weights, -1, exclusive=True)
        num_deeper = 1 + -(-self.num_probes // self.grid.resolution)
        before = tf.pad(passed, [[0, 0], [num_deeper, 0]])[:, : self.num_probes]
        return before < 1 - _OCCLUDED

    def live(self, rays: Rays) -> tf.Tensor:
        """Which rays [N] meet an occupied cell, at places two cells apart; see `Sampler`."""
        begin, end = self._span(rays)
        num_probes = self.grid.resolution // 2
        fractions = (tf.range(num_probes, dtype=tf.float32)[tf.newaxis] + 0.5) / num_probes
        # Cells are as large far away as near by, so these lie evenly in depth with lindisp, too.
        depths = begin + (end - begin) * fractions
        return (begin < end)[:, 0] & self.grid.meets_something(rays, depths)

    def _span(self, rays: Rays) -> tuple[tf.Tensor, tf.Tensor]:
        return self.grid.span(rays, self.near, self.far)

    def _depths(self, begin: tf.Tensor, end: tf.Tensor, fractions: tf.Tensor) -> tf.Tensor:
        """Depths [N, S] of fractions [N or 1, S] of the way from begin to end [N, 1].

        With lindisp a fraction is the mean of those in depth and in disparity, which is quadratic
        in depth: steps in disparity alone would skip many cells far away.
        """
        length = end - begin
        if not self.lindisp:
            return begin + length * fractions
        ahead = length * (fractions - 0.5)
        product = begin * tf.maximum(end, 0.0)
        root = tf.sqrt(ahead * ahead + product)
        # Of the two forms of the solution the one that subtracts nothing.
        return tf.where(ahead < 0, product / (root - ahead), ahead + root)

    @property
    def points_per_ray(self) -> int:
        """Samples."""
        return self.num_samples

    def draw(self, rows: BatchRows) -> Draws:
        """Where in their intervals the probes and the samples of each ray lie; see `Sampler`."""
        draws = Draws()
        if self.jitter:
            draws = draws._replace(jitter=rows.uniforms(2, Stream.JITTER))
        if self.density_noise_std:
            noise = self.density_noise_std * rows.normals(self.num_samples, Stream.FINE_NOISE)
            draws = draws._replace(density_noise=noise)
        return draws

    @property
    def loss_names(self) -> tuple[str, ...]:
        """The grid is not trained, but what is seen through it may be kept together."""
        return ("distortion",) if self.distortion_weight else ()

    def losses(self, rendering: Rendering, error: Reduction, mean: Reduction) -> list[Loss]:
        """How far along each ray its weight is spread, as a share of the way from near to far."""
        if not self.distortion_weight:
            return []
        depths, intervals = rendering.samples.depths, rendering.samples.intervals
        begin = self._share_of_way(depths - intervals / 2)
        end = self._share_of_way(depths + intervals / 2)
        spread = distortion(rendering.final.weights, (begin + end) / 2, end - begin)
        return [Loss("distortion", self.distortion_weight, mean(spread))]

    def _share_of_way(self, depths: tf.Tensor) -> tf.Tensor:
        """0 at near and 1 at far, evenly in depth or in disparity."""
        depths = tf.clip_by_value(depths, self.near, self.far)
        if self.lindisp:
            return (1 / self.near - 1 / depths) / (1 / self.near - 1 / self.far)
        return (depths - self.near) / (self.far - self.near)


def make_sampler(
    model: NeRF, near: float | tf.Tensor, far: float | tf.Tensor, settings: RenderSettings
) -> Grid:
    """The sampler of these settings; the model has a grid."""
    assert model.grid is not None
    return Grid(
        model.grid,
        near,
        far,
        settings.num_probes,
        settings.num_samples,
        settings.even_share,
        settings.lindisp,
        settings.jitter,
        settings.density_noise_std,
        settings.distortion_weight,
    )


def _sums_between(values: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
    """Sums [N, K] between places [N, K + 1] of values [N, B] of bins of equal width from 0 to 1."""
    num_bins = tf.shape(values)[1]
    place = places * tf.cast(num_bins, tf.float32)
    bins = tf.minimum(tf.cast(place, tf.int32), num_bins - 1)
    before = tf.gather(tf.cumsum(values, -1, exclusive=True), bins, batch_dims=1)
    part = place - tf.cast(bins, tf.float32)
    sums = before + part * tf.gather(values, bins, batch_dims=1)
    return sums[:, 1:] - sums[:, :-1]


def _normalized(weights: tf.Tensor) -> tf.Tensor:
    """Weights [N, S] that sum to one, or to nearly zero where there are next to none."""
    return weights / (tf.reduce_sum(weights, -1, keepdims=True) + _LITTLE)


def _blurred(weights: tf.Tensor) -> tf.Tensor:
    """Weights [N, S] that reach into the intervals beside their own.

    The mean of the larger one of each pair of neighbours (Barron et al. 2021, equation 18): a grid
    knows no better where in a cell a surface is. The grid itself must not be widened for that, or
    all light would stop in front of the surface.
    """
    padded = tf.pad(weights, [[0, 0], [1, 1]])
    larger = tf.maximum(padded[:, 1:], padded[:, :-1])
    return 0.5 * (larger[:, 1:] + larger[:, :-1])
