"""The original's networks, from its weights in the golden set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfnerf.fields.color_inputs import ColorInputs
from tfnerf.fields.mlp import RadianceField
from tfnerf.fields.model import NeRF


def load_nerf(golden: Callable[[str], Path], checkpoint: str, *, with_fine: bool = True) -> NeRF:
    """The networks of a golden checkpoint."""
    weights = np.load(golden(f"weights_{checkpoint}.npz"))
    coarse = _field(weights, "coarse")
    return NeRF(coarse, _field(weights, "fine") if with_fine else None)


def _field(weights: np.lib.npyio.NpzFile, prefix: str) -> RadianceField:
    arrays = [weights[name] for name in sorted(weights) if name.startswith(prefix)]
    use_viewdirs = len(arrays) == 24
    field = RadianceField(
        net_width=arrays[0].shape[1],
        bottleneck_width=arrays[16].shape[1] if use_viewdirs else None,
        color_inputs=ColorInputs(use_viewdirs=use_viewdirs),
    )
    field.set_weights(arrays)
    return field
