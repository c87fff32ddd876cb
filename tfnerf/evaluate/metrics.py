"""Image quality: PSNR and SSIM."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf


def psnr_of(mean_squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB for colours from 0 to 1; infinite for no error."""
    return math.inf if mean_squared_error == 0 else -10 * math.log10(mean_squared_error)


def psnr(image: np.ndarray, truth: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of two images [H, W, 3] from 0 to 1."""
    return psnr_of(float(np.mean((image.astype(np.float64) - truth) ** 2)))


def ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Structural similarity (Wang et al. 2004) of two images [H, W, 3] from 0 to 1.

    11 x 11 Gaussian window of deviation 1.5, as `tf.image.ssim` has it.

    Raises:
      ValueError: the images are smaller than the window.
    """
    if min(image.shape[:2]) < 11:
        raise ValueError(f"SSIM needs images of at least 11 x 11 pixels, found {image.shape[:2]}")
    return float(tf.image.ssim(tf.constant(image), tf.constant(truth, tf.float32), max_val=1.0))
