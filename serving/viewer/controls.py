"""Controls of a browser for what pictures depend on beside the camera: time, light, appearance."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import viser

from tfnerf.geometry.conditions import Condition, choose

_STEPS = 200
"""Places of a slider."""
_MEAN = "mean"


class ConditionControls:
    """A slider for the time, two for the light, a list of appearances, as far as a scene has them.

    Args:
      gui: of the browser.
      conditions: that the scene has, by name.
      changed: called when the user, or `play`, has changed one.
    """

    def __init__(
        self,
        gui: viser.GuiApi,
        conditions: Mapping[str, Condition],
        changed: Callable[[Any], Any],
    ):
        self.conditions = dict(conditions)
        self._handles: dict[str, Any] = {}
        if self.moves:
            least, most = conditions["time"].least, conditions["time"].most
            self._add_slider(gui, "Time", least, most, least)
        if "light" in conditions:
            self._add_slider(gui, "Light around", -180, 180, 45)
            self._add_slider(gui, "Light above", -90, 90, 45)
        if "appearance" in conditions:
            names = (_MEAN, *(conditions["appearance"].named or {}))
            self._handles["Appearance"] = gui.add_dropdown("Appearance", names, initial_value=_MEAN)
        for handle in self._handles.values():
            handle.on_update(changed)

    def _add_slider(
        self, gui: viser.GuiApi, label: str, least: float, most: float, first: float
    ) -> None:
        step = (most - least) / _STEPS
        self._handles[label] = gui.add_slider(label, least, most, step, first)

    @property
    def moves(self) -> bool:
        """Whether there are times to choose from."""
        return "time" in self.conditions and self.conditions["time"].num_rows > 1

    def play(self, fraction: float) -> None:
        """Goes to a time, from 0 at the first to 1 at the last."""
        time = self.conditions["time"]
        self._handles["Time"].value = time.least + fraction * (time.most - time.least)

    def rows(self) -> dict[str, np.ndarray] | None:
        """What is chosen: one row [1, ...] of each condition; None where there are none."""
        texts = {}
        if "time" in self.conditions:
            time = self.conditions["time"]
            value = self._handles["Time"].value if self.moves else time.least
            texts["time"] = repr(float(np.clip(value, time.least, time.most)))
        if "light" in self.conditions:
            texts["light"] = ",".join(map(repr, self._light().tolist()))
        if "appearance" in self.conditions:
            texts["appearance"] = self._handles["Appearance"].value
        return choose(self.conditions, texts, 1)

    def _light(self) -> np.ndarray:
        """Where the light is, as far away as in training."""
        light = self.conditions["light"]
        around, above = (
            math.radians(self._handles[f"Light {place}"].value) for place in ("around", "above")
        )
        across = math.cos(above)
        direction = [across * math.cos(around), across * math.sin(around), math.sin(above)]
        return math.sqrt(light.least * light.most) * np.array(direction)

    def remove(self) -> None:
        """Takes the controls away."""
        for handle in self._handles.values():
            handle.remove()
