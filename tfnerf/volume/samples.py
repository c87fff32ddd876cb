"""Samples along rays, and what a field makes of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from tfnerf.fields.field import Conditions, Field
from tfnerf.geometry.cameras import Rays
from tfnerf.volume.compositing import (
    Composite,
    composite,
    composite_in_parts,
    sample_weights,
    surface_depths,
)


class Draws(NamedTuple):
    """The random numbers of one rendering; None renders without that randomness.

    How many numbers there are per ray is up to the sampler.
    """

    jitter: tf.Tensor | None = None
    """[N, samples], uniform in [0, 1): where in its interval a sample lies."""
    resampling: tf.Tensor | None = None
    """[N, samples], uniform in [0, 1): which of the places that matter are looked at."""
    sampling_noise: tf.Tensor | None = None
    """[N, samples], added to the raw densities that say where to look."""
    density_noise: tf.Tensor | None = None
    """[N, S], the same for the densities of the final samples, in order of depth."""


class Samples(NamedTuple):
    """Where along N rays to look, S samples each."""

    depths: tf.Tensor
    """[N, S], increasing."""
    intervals: tf.Tensor
    """[N, S], depth that each sample stands for."""
    live: tf.Tensor | None = None
    """[N, S] bool: only there the field is evaluated, elsewhere is nothing; None: everywhere."""
    faint: tf.Tensor | None = None
    """[N], weight up to which samples are taken for black, and stop light as ever; None: each has
    the colour it has."""
    preview: Composite | None = None
    """What the sampler rendered to find them; None if it rendered nothing."""


class Rendering(NamedTuple):
    """What N rays see."""

    final: Composite
    samples: Samples
    """Where on the rays that was looked for; all 0 for rays that meet nothing."""
    num_live: tf.Tensor
    """Scalar int, rays that were looked at; the others meet nothing."""

    @property
    def preview(self) -> Composite | None:
        """What the sampler saw where it looked first; None if it did not look."""
        return self.samples.preview

    def on_white(self) -> Rendering:
        """The same with white instead of black where it is not opaque."""
        preview = None if self.preview is None else self.preview.on_white()
        samples = self.samples._replace(preview=preview)
        return self._replace(final=self.final.on_white(), samples=samples)


Shading = Callable[[tf.Tensor, Conditions | None], Conditions]
"""Of points [M, 3] and their conditions to these with what colours have to know beside them."""


def render_samples(
    field: Field,
    rays: Rays,
    samples: Samples,
    density_noise: tf.Tensor | None = None,
    shading: Shading | None = None,
) -> Composite:
    """Evaluates a field at samples of rays and composites them.

    Args:
      field: what is there.
      rays: N of them, in the coordinates of the field.
      samples: S on each ray.
      density_noise: [N, S], added to densities before their activation.
      shading: of the points where each ray, or each part of it that has a colour, meets a surface;
        None: colours know no more than the conditions of rays.

    Returns:
      What is seen before a black background.
    """
    at_samples = _Rows(samples.live, tf.shape(samples.depths)[1])
    noise = None if density_noise is None else at_samples.take(density_noise)
    points, conditions = rays.at(samples.depths), at_samples.of_rays(rays.conditions)
    density, features = field(at_samples.take(points), conditions, density_noise=noise)
    densities = at_samples.put(density)
    lengths = samples.intervals * tf.norm(rays.directions, axis=-1, keepdims=True)
    num_parts = field.colors_per_ray or 1
    parts = rays if num_parts == 1 else rays.repeated(num_parts)
    if shading is not None:
        ends = rays.at(surface_depths(densities, samples.depths, lengths, num_parts))
        ends = tf.stop_gradient(tf.reshape(ends, [-1, 3]))
        parts = parts._replace(conditions=shading(ends, parts.conditions))
    if field.colors_per_ray is None:
        if samples.faint is not None:
            shows = sample_weights(densities, lengths) > samples.faint[:, tf.newaxis]
            features, at_samples = at_samples.narrowed(features, shows)
        conditions = at_samples.of_rays(parts.conditions)
        colors = field.color(features, at_samples.of_ray(rays.viewdirs), conditions)
        return composite(at_samples.put(colors), densities, samples.depths, lengths)
    return composite_in_parts(
        at_samples.put(features),
        densities,
        samples.depths,
        lengths,
        field.colors_per_ray,
        lambda seen: field.color(seen, parts.viewdirs, parts.conditions),
    )


class _Rows:
    """Samples [N, S] as the rows [M] that a field is asked about, and back.

    Args:
      live: [N, S] bool, which samples are rows; None: all.
      num_samples: S.
    """

    def __init__(self, live: tf.Tensor | None, num_samples: tf.Tensor):
        self._num_samples = num_samples
        self._live = None if live is None else tf.where(tf.reshape(live, [-1]))
        self._num_all = None if live is None else tf.size(live)

    def take(self, values: tf.Tensor) -> tf.Tensor:
        """[N, S, ...] to [M, ...]."""
        rows = tf.reshape(values, [-1, *values.shape[2:]])
        return rows if self._live is None else tf.gather(rows, self._live[:, 0])

    def put(self, rows: tf.Tensor) -> tf.Tensor:
        """[M, ...] to [N, S, ...], zero where no row is."""
        if self._live is not None:
            rows = tf.scatter_nd(self._live, rows, [self._num_all, *rows.shape[1:]])
        return tf.reshape(rows, [-1, self._num_samples, *rows.shape[1:]])

    def narrowed(self, rows: tf.Tensor, live: tf.Tensor) -> tuple[tf.Tensor, _Rows]:
        """Of rows [M, ...] those of samples that are `live` [N, S], and what they are rows of."""
        fewer = _Rows(live, self._num_samples)
        return fewer.take(self.put(rows)), fewer

    def of_ray(self, values: tf.Tensor) -> tf.Tensor:
        """The value [N, ...] of its ray for each row, [M, ...]."""
        if self._live is None:
            return tf.repeat(values, self._num_samples, axis=0)
        return tf.gather(values, self._live[:, 0] // tf.cast(self._num_samples, tf.int64))

    def of_rays(self, conditions: Conditions | None) -> Conditions | None:
        """The conditions of its ray for each row."""
        if conditions is None:
            return None
        return {name: self.of_ray(values) for name, values in conditions.items()}
