"""LPIPS (Zhang et al. 2018) by its authors' package, for those who have it and its weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np

_BACKBONE = "vgg16-397923af.pth"


def load_lpips() -> Callable[[np.ndarray, np.ndarray], float] | None:
    """LPIPS with VGG features, as the paper reports it.

    Returns:
      A function of two images [H, W, 3] from 0 to 1; None unless the packages lpips and torch and
      the weights of VGG-16 are installed. Nothing is downloaded.
    """
    if any(importlib.util.find_spec(name) is None for name in ("lpips", "torch", "torchvision")):
        return None
    import torch

    if not (Path(torch.hub.get_dir()) / "checkpoints" / _BACKBONE).is_file():
        return None
    import lpips

    network = lpips.LPIPS(net="vgg", verbose=False)

    def to_batch(image: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.float32(image)).permute(2, 0, 1)[None] * 2 - 1

    def measure(image: np.ndarray, truth: np.ndarray) -> float:
        with torch.no_grad():
            return float(network(to_batch(image), to_batch(truth)))

    return measure
