"""What it costs to look at a trained scene through a grid, and what it saves."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfnerf.evaluate.metrics import psnr_of
from tfnerf.geometry.cameras import Rays, rows_of
from tfnerf.runs.trained import TrainedRun
from tfnerf.scenes import Scene, Views, some_pixels
from tfnerf.volume.devices import picture_rays_per_chunk
from tfnerf.volume.samples import Draws
from tfnerf.volume.scene_renderer import SceneRenderer

_log = logging.getLogger(__name__)
_NUM_RAYS = 4096
_SECONDS = 1.0
"""That rays are rendered for, again and again, to tell how long they take."""


class GridCost(NamedTuple):
    """On some pixels, with a grid and without it."""

    psnr: float
    """dB, against the photographs."""
    psnr_exact: float
    """The same without the grid."""
    agreement: float
    """dB, PSNR of one against the other."""
    recall: float
    """Share of what makes the pictures without the grid that lies where it is looked for with the
    grid: in occupied cells, on rays that are found to meet one. Of each place it counts by how much
    the colour of its pixel would be another without it."""
    speedup: float
    """How many times faster these pixels are rendered, each way as many at a time as in pictures,
    or all at once if these are fewer."""


def measure_cost(run: TrainedRun, scene: Scene, views: Views) -> GridCost | None:
    """Renders some pixels of views with and without the grid that a run was given.

    Args:
      run: the run.
      scene: that it was trained on.
      views: of the scene, best such that were held out.

    Returns:
      None if it was given none after its training, or the views came without photographs.
    """
    if run.as_trained is None or not views.has_images:
        return None
    exact, fast = run.as_trained.renderer(scene), run.renderer(scene)
    rays, truth = some_pixels(scene, views, _NUM_RAYS)
    assert truth is not None  # there are photographs
    chunks, fast_chunks = _chunks_of(rays, run.as_trained, exact), _chunks_of(rays, run, fast)
    exact_rgb, exact_seconds = _timed(lambda some: exact.render(some).final.rgb, chunks)
    fast_rgb, fast_seconds = _timed(lambda some: fast.render(some).final.rgb, fast_chunks)
    seen, _ = _timed(lambda some: _weight_in_grid(exact, fast, some), chunks, at_least=0.0)
    cost = GridCost(
        psnr=_psnr(fast_rgb, truth),
        psnr_exact=_psnr(exact_rgb, truth),
        agreement=_psnr(fast_rgb, np.clip(exact_rgb, 0, 1)),
        recall=float(seen[:, 1].sum() / max(seen[:, 0].sum(), 1e-9)),
        speedup=exact_seconds / fast_seconds,
    )
    _log.info(
        "grid: PSNR %.2f dB, %+.3f dB against no grid; recall %.3f%%; %.0f times as fast",
        cost.psnr,
        cost.psnr - cost.psnr_exact,
        100 * cost.recall,
        cost.speedup,
    )
    return cost


def _weight_in_grid(exact: SceneRenderer, fast: SceneRenderer, rays: Rays) -> tf.Tensor:
    """The effect of the exact samples of each ray, [N, 2]: of all, and of what a grid shows."""
    warped = exact.warped(rays)
    samples = exact.sampler(warped, Draws())
    effects = exact.effects(warped, samples)
    assert fast.model.grid is not None  # it was given one
    inside = fast.model.grid.occupied_along(warped, samples.depths)
    live = fast.sampler.live(warped)
    assert live is not None
    inside &= live[:, tf.newaxis]
    return tf.stack(
        [tf.reduce_sum(effects, -1), tf.reduce_sum(tf.where(inside, effects, 0.0), -1)], -1
    )


def _chunks_of(rays: Rays, run: TrainedRun, renderer: SceneRenderer) -> list[Rays]:
    """Rays, as many at a time as in pictures."""
    size = picture_rays_per_chunk(run.config.rendering, renderer.sampler, renderer.model.final)
    starts = range(0, rays.origins.shape[0], size)
    return [rows_of(rays, slice(start, start + size)) for start in starts]


def _timed(
    function: Callable[[Rays], tf.Tensor], chunks: Sequence[Rays], at_least: float = _SECONDS
) -> tuple[np.ndarray, float]:
    """What a function makes of chunks of rays, and the seconds that it takes, a median."""
    graph: Any = tf.function(function, reduce_retracing=True, autograph=False)
    for chunk in {chunk.origins.shape[0]: chunk for chunk in chunks}.values():
        graph(chunk)
    seconds: list[float] = []
    while not seconds or sum(seconds) < at_least:
        begin = time.perf_counter()
        parts = [graph(chunk).numpy() for chunk in chunks]
        seconds.append(time.perf_counter() - begin)
    return np.concatenate(parts), statistics.median(seconds)


def _psnr(rgb: np.ndarray, truth: np.ndarray) -> float:
    return psnr_of(float(np.mean((np.clip(rgb, 0, 1) - truth) ** 2)))
