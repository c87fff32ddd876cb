"""What views were taken under beside their cameras: the time, the light.

A scene has a condition if the settings use it; each of its views must say it then.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfnerf.errors import UserError
from tfnerf.settings import SceneSettings

_log = logging.getLogger(__name__)
KEYS = ("time", "pl_pos", "light_direction")
"""Of frames, that say conditions."""
_LIGHT_KEYS = KEYS[1:]
_ENABLED_BY = {"time": "--time_model=deform", "light": "--relightable"}
_FAR_AWAY = 1000.0
"""Scene units to a light of which the direction is all that is known."""
_SHORTEST_LIGHT = 1e-3
"""Scene units; what is nearer to the middle of the scene is nowhere."""


def read_conditions(
    frames: Sequence[Mapping[str, Any]], settings: SceneSettings, path: Path
) -> dict[str, np.ndarray] | None:
    """The conditions of frames of a transforms file, as `Cameras.conditions`; None: there are none.

    `time` is a number from 0 to 1; `pl_pos` is where a point light is, in units and axes of the
    file (NRHints: Zeng et al. 2023), and `light_direction` points to a distant one.

    Args:
      frames: of the views.
      settings: which conditions the scene has.
      path: of the file.

    Raises:
      UserError: a frame lacks a condition that the scene has, or says something else.
    """
    said: dict[str, Any] = {"time": None, "light": None}
    if any("time" in frame for frame in frames):
        said["time"] = [_time_of(frame, path) for frame in frames]
    if any(key in frame for frame in frames for key in _LIGHT_KEYS):
        said["light"] = [_light_of(frame, path) for frame in frames]
    return conditions_of(said, settings, str(path))


def conditions_of(
    said: Mapping[str, Sequence[Any] | None], settings: SceneSettings, where: str
) -> dict[str, np.ndarray] | None:
    """Those of the conditions that the settings use; None: none of them.

    Args:
      said: a value per view, by the name of the condition; None where the data does not say it.
      settings: which conditions the scene has.
      where: names the data in errors.

    Raises:
      UserError: the data does not say what the settings use.
    """
    is_used = {"time": settings.time_model != "none", "light": settings.relightable}
    conditions = {}
    for name, flag in _ENABLED_BY.items():
        values = said[name]
        if is_used[name] and values is None:
            raise UserError(f"{flag}: {where} says no {name} of its views, expected one of each")
        if is_used[name]:
            conditions[name] = np.array(values, np.float32)
        elif values is not None:
            _log.warning("%s: the %s of each view has no effect without %s", where, name, flag)
    return conditions or None


def _time_of(frame: Mapping[str, Any], path: Path) -> float:
    time: Any = frame.get("time")
    if not _is_number(time) or not 0 <= time <= 1:
        raise UserError(
            f"{path}: {frame['file_path']}: time is {time!r:.40}, expected a number from 0 to 1 as "
            "in other frames"
        )
    return float(time)


def _light_of(frame: Mapping[str, Any], path: Path) -> list[float]:
    if all(key in frame for key in _LIGHT_KEYS):
        raise UserError(
            f"{path}: {frame['file_path']}: has {' and '.join(_LIGHT_KEYS)}, expected one of them"
        )
    key = next((key for key in _LIGHT_KEYS if key in frame), _LIGHT_KEYS[0])
    light: Any = frame.get(key)
    is_vector = isinstance(light, list) and len(light) == 3 and all(map(_is_number, light))
    if not is_vector or np.linalg.norm(light) < _SHORTEST_LIGHT:
        raise UserError(
            f"{path}: {frame['file_path']}: {key} is {light!r:.60}, expected three numbers that "
            "are not all 0, as in other frames"
        )
    row = np.array(light, float)
    if key == "light_direction":
        row *= _FAR_AWAY / np.linalg.norm(row)
    return row.tolist()


def _is_number(value: Any) -> bool:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return numeric and abs(value) < 1e30
