"""The networks of a scene, and the one place that makes them."""

from __future__ import annotations

import importlib
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfnerf.fields.codes import AppearanceCodes
from tfnerf.fields.density_grid import DensityGrid
from tfnerf.fields.field import Conditions, Field, RateGroup
from tfnerf.geometry.cameras import Rays
from tfnerf.settings import Config

_PARTS = ("coarse", "fine", "grid", "codes")
_CODE_RATE = 10.0
"""Learning rate of the codes: 0.005 where that of the run is the default one."""


@keras.saving.register_keras_serializable(package="tfnerf")
class NeRF(keras.Model):
    """The coarse network, that finds where to look, and the fine one, that looks there.

    Args:
      coarse: evaluated at stratified samples.
      fine: evaluated at these and at the resampled ones; None: the coarse network serves for both.
      grid: densities of the final network, looked up to find where to evaluate it; None: the coarse
        network is asked instead.
      codes: of the images that it is trained on; None: colours do not depend on such.

    Example:
      >>> nerf = NeRF(RadianceField(), RadianceField())
      >>> nerf.count_params()
      1191688
    """

    def __init__(
        self,
        coarse: Field,
        fine: Field | None = None,
        grid: DensityGrid | None = None,
        codes: AppearanceCodes | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name, dtype="float32")
        self.coarse = coarse
        self.fine = fine
        self.grid = grid
        self.codes = codes
        self.built = True

    @property
    def final(self) -> Field:
        """The network that final colours come from."""
        return self.coarse if self.fine is None else self.fine

    def call(
        self, points: tf.Tensor, conditions: Conditions | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Evaluates the network that final colours come from; see `Field.call`."""
        return self.final(points, conditions)

    @property
    def fields(self) -> list[Field]:
        """The networks that there are."""
        return [self.coarse] if self.fine is None else [self.coarse, self.fine]

    def of_images(self, rays: Rays, images: tf.Tensor) -> Rays:
        """Rays of training images [N], by index, under the codes of these, if there are such."""
        if self.codes is None:
            return rays
        return rays._replace(
            conditions={**(rays.conditions or {}), "appearance": self.codes(images)}
        )

    def place(self, box: np.ndarray) -> None:
        """Says in which box [2, 3] of space the scene is, before training."""
        for field in self.fields:
            field.place(box)
        if self.grid is not None:
            self.grid.box.corners.assign(box)

    def refine(self, coarse: NeRF) -> None:
        """Takes over what networks have learned that were made for an earlier step.

        The box is narrowed down to what their grid says is occupied.
        """
        assert self.grid is not None and coarse.grid is not None
        coarse.grid.fill(coarse.final)
        coarse.grid.mark_occupied()
        box = coarse.grid.occupied_box()
        for field, old in zip(self.fields, coarse.fields):
            field.refine(old, box)
        self.grid.box.corners.assign(box)
        self.grid.fill(self.final)
        self.grid.mark_occupied()
        if self.codes is not None and coarse.codes is not None:
            self.codes.rows.assign(coarse.codes.rows.value)

    def rate_groups(self) -> list[RateGroup]:
        """Those of the coarse network, then those of the fine one, then the codes."""
        groups = [group for field in self.fields for group in field.rate_groups()]
        if self.codes is not None:
            groups.append(RateGroup([self.codes.rows], _CODE_RATE))
        return _joined(groups)

    def get_config(self) -> dict[str, Any]:
        """The networks, serialized."""
        serialize = keras.saving.serialize_keras_object
        parts = {name: getattr(self, name) for name in _PARTS}
        present = {name: serialize(part) for name, part in parts.items() if part is not None}
        return {**present, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> NeRF:
        """The inverse of `get_config`."""
        deserialize = keras.saving.deserialize_keras_object
        parts = {name: deserialize(config[name]) for name in _PARTS if name in config}
        return cls(**parts, name=config["name"])


def make_model(config: Config, *, step: int = 0, num_images: int = 0) -> NeRF:
    """New networks with the shapes that they have after a step.

    Shapes are a function of the arguments and of nothing else, so that a checkpoint of that step
    can be restored into them.

    Args:
      config: which kind of field, and how large.
      step: of the run.
      num_images: that it is or was trained on; 0: it is to answer only, and needs no codes of them.
    """
    make_field = importlib.import_module(f"tfnerf.fields.{config.network.field}").make_field
    coarse = make_field(config, step, "coarse")
    fine = make_field(config, step, "fine") if config.rendering.has_coarse_network else None
    grid = _make_grid(config) if config.rendering.sampler == "grid" else None
    codes = None
    if config.network.appearance_width and num_images:
        codes = AppearanceCodes(num_images, config.network.appearance_width, name="codes")
    return NeRF(coarse, fine, grid, codes, name="nerf")


def _make_grid(config: Config) -> DensityGrid:
    rendering = config.rendering
    num_times = None if config.scene.time_model == "none" else rendering.grid_times
    return DensityGrid(rendering.grid_resolution, num_times, name="grid")


def _joined(groups: list[RateGroup]) -> list[RateGroup]:
    """One group for all that are trained alike."""
    joined: dict[tuple[float, ...], list[keras.Variable]] = {}
    for variables, *rates in groups:
        joined.setdefault(tuple(rates), []).extend(variables)
    return [RateGroup(variables, *rates) for rates, variables in joined.items()]
