"""Codes of appearance as a condition of the views of a scene."""

from __future__ import annotations

import dataclasses

import numpy as np

from tfnerf.fields.model import NeRF
from tfnerf.scenes import Scene, Views


def with_codes(scene: Scene, model: NeRF) -> Scene:
    """The scene with a code for each view: training views have their own, others the mean.

    Args:
      scene: its training views, if it has them here, are those that the model learned.
      model: that may have codes, else the scene stays as it is.
    """
    if model.codes is None:
        return scene
    codes = model.codes.rows.numpy()
    mean = codes.mean(0, keepdims=True)
    splits = {
        name: _under_codes(views, codes if name == "train" else np.repeat(mean, len(views), 0))
        for name, views in scene.splits.items()
    }
    return dataclasses.replace(scene, splits=splits)


def _under_codes(views: Views, codes: np.ndarray) -> Views:
    conditions = {**(views.cameras.conditions or {}), "appearance": codes}
    return dataclasses.replace(views, cameras=views.cameras.under(conditions))
