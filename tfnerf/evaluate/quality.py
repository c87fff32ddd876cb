"""Rendering held-out views and comparing them with what the camera saw."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tfnerf.evaluate.appearance import right_half
from tfnerf.evaluate.metrics import psnr, ssim
from tfnerf.images import (
    color_depth,
    color_map,
    contact_sheet,
    opaque_depth,
    to_8bit,
    truncated_to_8bit,
)
from tfnerf.scenes import Scene, Views, true_colors
from tfnerf.volume.image_renderer import Image, ImageRenderer


class Quality(NamedTuple):
    """How close an image is to the truth."""

    psnr: float
    """dB"""
    ssim: float
    """NaN for images smaller than its window."""
    lpips: float
    """NaN where it is not installed."""


class ViewQuality(NamedTuple):
    """How close a rendered view is to the photograph."""

    name: str
    exact: Quality
    """Of the colours as they were rendered."""
    published: Quality
    """By the paper's protocol: of the colours truncated to 8 bits, as the authors saved them."""


Lpips = Callable[[np.ndarray, np.ndarray], float]


def measure_view(
    views: Views,
    index: int,
    image: Image,
    truth: np.ndarray,
    lpips: Lpips | None = None,
    *,
    right_half_only: bool = False,
) -> ViewQuality:
    """Compares a rendered view with the photograph, where its mask lets it be seen.

    Args:
      views: of the scene.
      index: which of them.
      image: as it was rendered.
      truth: [H, W, 3], the colours that its camera saw.
      lpips: measures LPIPS; None: it is not installed.
      right_half_only: whether the left half of the view does not count.
    """
    mask = None if views.masks is None else views.masks[index]
    if right_half_only:
        columns = np.s_[:, truth.shape[1] // 2 :]
        image, truth = right_half(image), truth[columns]
        mask = None if mask is None else mask[columns]
    exact = np.clip(image.rgb, 0, 1)
    saved = (truncated_to_8bit(image.rgb) / 255).astype(np.float32)
    return ViewQuality(
        views.names[index],
        _quality(exact, truth, lpips, mask),
        _quality(saved, truth, lpips, mask),
    )


def _quality(
    image: np.ndarray, truth: np.ndarray, lpips: Lpips | None, mask: np.ndarray | None
) -> Quality:
    nan = float("nan")
    if mask is not None:  # what is masked is as it should be
        image = np.where(mask[..., np.newaxis], image, truth)
    return Quality(
        psnr=psnr(image, truth, mask),
        ssim=ssim(image, truth, mask) if min(truth.shape[:2]) >= 11 else nan,
        lpips=nan if lpips is None else lpips(image, truth),
    )


def measure_views(
    renderer: ImageRenderer,
    scene: Scene,
    views: Views,
    progress: Callable[[int], object] | None = None,
) -> list[ViewQuality]:
    """Renders and measures views.

    Args:
      renderer: of the scene.
      scene: whose background the views are set on.
      views: what to measure.
      progress: called with the number of rays after each call into the graph.
    """
    return [
        measure_view(
            views,
            index,
            renderer(views.cameras, index, progress),
            true_colors(scene, views, index),
        )
        for index in range(len(views))
    ]


def color_error(image: Image, truth: np.ndarray) -> np.ndarray:
    """How far the colours of each pixel are off on average, [H, W]."""
    return np.abs(np.clip(image.rgb, 0, 1) - truth).mean(-1)


def held_out_sheet(scene: Scene, image: Image, truth: np.ndarray) -> np.ndarray:
    """A rendered view beside the photograph, its error, depth and opacity.

    Returns:
      [2 H, 3 W, 3] uint8: rendered, photograph, error; depth, opacity, and the error ten times
      as bright.
    """
    error = color_error(image, truth)
    depth = opaque_depth(image.depth, image.opacity, scene.far)
    return contact_sheet(
        [
            [to_8bit(image.rgb), to_8bit(truth), color_map(error, "inferno")],
            [
                color_depth(depth, scene.near, scene.far),
                color_map(image.opacity, "gray"),
                color_map(10 * error, "inferno"),
            ],
        ]
    )
