"""Samplers: one module a kind, each of which says where along a ray to look."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Protocol

import tensorflow as tf

from tfnerf.fields.field import Loss
from tfnerf.fields.model import NeRF
from tfnerf.geometry.cameras import Rays
from tfnerf.random_numbers import BatchRows
from tfnerf.settings import RenderSettings
from tfnerf.volume.samples import Draws, Rendering, Samples

Reduction = Callable[[tf.Tensor], tf.Tensor]
"""Of one row per ray to a scalar: the share of these rays in the mean over the whole batch."""


class Sampler(Protocol):
    """Where along a ray to look: a frozen dataclass, whose fields are all that it depends on."""

    def live(self, rays: Rays) -> tf.Tensor | None:
        """Which of N rays [N] may meet something; None: it cannot tell, and looks at all."""

    def __call__(self, rays: Rays, draws: Draws) -> Samples:
        """Samples of N rays that are live, in the coordinates of the field."""

    @property
    def points_per_ray(self) -> int:
        """How often fields are evaluated for each ray."""

    def draw(self, rows: BatchRows) -> Draws:
        """The random numbers that training on these rows of a batch takes."""

    @property
    def loss_names(self) -> tuple[str, ...]:
        """Of the terms that `losses` returns, in their order."""

    def losses(self, rendering: Rendering, error: Reduction, mean: Reduction) -> list[Loss]:
        """What training lowers so that the sampler looks in the right places.

        Args:
          rendering: of rays of a batch.
          error: of colours [N, 3] against those that the rays should have.
          mean: of numbers [N].
        """


def make_sampler(model: NeRF, near: float, far: float, settings: RenderSettings) -> Sampler:
    """The sampler that the settings name.

    Args:
      model: the networks; a sampler may ask one of them where to look.
      near: depth where rays begin, in the coordinates of the field.
      far: depth where they end.
      settings: which kind, and how many samples.
    """
    # Where no field says which sampler suits it, it is that of the paper.
    kind = settings.sampler or "hierarchical"
    module = importlib.import_module(f"tfnerf.volume.samplers.{kind}")
    sampler: Sampler = module.make_sampler(model, near, far, settings)
    return sampler
