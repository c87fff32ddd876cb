"""Image quality: PSNR and SSIM."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf

_WINDOW = 11
"""Pixels a side of what SSIM looks at around each pixel."""


def psnr_of(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB for colours from 0 to 1; infinite for no error."""
    return math.inf if mean_squared_error == 0 else -10 * math.log10(mean_squared_error)


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of two images [H, W, 3] from 0 to 1.

    Args:
      image: one.
      truth: the other.
      mask: [H, W] bool, which pixels count; None: all.
    """
    squares = (image.astype(np.float64) - truth) ** 2
    return psnr_of(float(np.mean(squares if mask is None else squares[mask])))


def ssim(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity (Wang et al. 2004) of two images [H, W, 3] from 0 to 1.

    11 x 11 Gaussian window of deviation 1.5, as `tf.image.ssim` has it.

    Args:
      image: one.
      truth: the other.
      mask: [H, W] bool, the windows around which pixels count; None: all.

    Returns:
      The mean over the windows; NaN if none counts.

    Raises:
      ValueError: the images are smaller than the window.
    """
    if min(image.shape[:2]) < _WINDOW:
        raise ValueError(f"SSIM needs images of at least 11 x 11 pixels, found {image.shape[:2]}")
    images = tf.constant(image, tf.float32), tf.constant(truth, tf.float32)
    if mask is None:
        return float(tf.image.ssim(*images, max_val=1.0))
    by_window = tf.image.ssim(*images, max_val=1.0, return_index_map=True).numpy()
    border = _WINDOW // 2
    counting = mask[border:-border, border:-border]
    return float(by_window[counting].mean()) if counting.any() else math.nan
