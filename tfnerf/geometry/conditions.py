"""What pictures of a scene depend on beside their cameras, and how to choose it.

A condition is a row of numbers: the time, from 0 to 1; where the light is, in world coordinates, of
which only the direction counts; a code of appearance. A scene has those that it was trained with.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

import numpy as np

from tfnerf.errors import UserError

_log = logging.getLogger(__name__)
_TOLERANCE = 1e-5
"""Of limits, which are 32-bit numbers."""
_LIGHT_MARGIN = 2.0
"""How much nearer or farther than those of training a light may be: what is in the scene itself, or
on one of its surfaces, has no direction that means anything."""
CONDITIONS = ("time", "light", "appearance")
"""By name, those that there are."""
_SWEEP, _ORBIT, _MEAN = "sweep", "orbit", "mean"


class Condition(NamedTuple):
    """Which rows a scene was trained with."""

    shape: tuple[int, ...]
    """Of a row."""
    least: float
    """The smallest size of a row that may be asked for: a number itself, the length of a vector."""
    most: float
    """The largest one."""
    num_rows: int
    """How many different rows there were."""
    named: dict[str, list[float]] | None = None
    """Rows by the names of the images that they were learned from."""

    @classmethod
    def of(cls, name: str, rows: np.ndarray) -> Condition:
        """The condition of some name that views have, rows [V, ...]."""
        sizes = sizes_of(rows)
        least, most = float(sizes.min()), float(sizes.max())
        if name == "light":
            least, most = least / _LIGHT_MARGIN, most * _LIGHT_MARGIN
        return cls(rows.shape[1:], least, most, len(np.unique(rows, axis=0)))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Condition:
        """The inverse of `to_json`."""
        shape = tuple(int(size) for size in content["shape"])
        least, most = float(content["least"]), float(content["most"])
        return cls(shape, least, most, int(content["num_rows"]), content.get("named"))

    def to_json(self) -> dict[str, Any]:
        """For descriptions."""
        content = {**self._asdict(), "shape": list(self.shape)}
        return {key: value for key, value in content.items() if value is not None}

    def knows(self, rows: np.ndarray) -> np.ndarray:
        """Which of rows [N, ...] are such as the scene was trained with, [N]; NaN is not."""
        least, most = self.limits
        sizes = sizes_of(rows)
        known: np.ndarray = (sizes >= least) & (sizes <= most)
        return known

    @property
    def limits(self) -> tuple[float, float]:
        """Least and most size of a row, with room for rounding."""
        return self.least - _TOLERANCE, self.most + _TOLERANCE


def sizes_of(rows: Any) -> Any:
    """Of rows [N] or [N, K]: numbers themselves, lengths of vectors."""
    return rows if rows.ndim == 1 else np.linalg.norm(rows, axis=-1)


def choose(
    conditions: Mapping[str, Condition],
    texts: Mapping[str, str | None],
    num_frames: int,
    said: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray] | None:
    """Rows for the frames of a path, as users write them.

    time: a number, or sweep (from the first to the last). light: x,y,z, or orbit (around the
    scene). appearance: the name of an image, a:b:weight (between two), or mean.

    Args:
      conditions: that the scene has, by name.
      texts: what was chosen of each; None: nothing.
      num_frames: F.
      said: rows [F, ...] that hold where nothing was chosen, as of cameras that took pictures.

    Returns:
      Rows [F, ...] of each condition that the scene has; None if it has none.

    Raises:
      UserError: something was chosen that the scene does not have, or was not trained with; or
        nothing was, of a condition that has no usual value.
    """
    for name, text in texts.items():
        if text is not None and name not in conditions:
            raise UserError(f"--{name}={text}: the scene was trained without, so it has no effect")
    said = said or {}
    for name in said.keys() - conditions.keys():
        _log.warning("the %s of the cameras has no effect, the scene was trained without", name)
    rows = {}
    for name, condition in conditions.items():
        text = texts.get(name)
        if text is None and name in said:
            rows[name] = _known(name, said[name], condition)
            continue
        if text is None and name != "appearance":
            raise UserError(f"--{name}: not given, expected {_expected(name, condition)}")
        if num_frames == 1 and text in (_SWEEP, _ORBIT):
            raise UserError(f"--{name}={text}: needs several frames, and there is one")
        if text is None:
            _log.info("--appearance=%s: the mean of what the photographs were taken under", _MEAN)
        rows[name] = _CHOICES[name](text or _MEAN, condition, num_frames).astype(np.float32)
    return rows or None


def _known(name: str, rows: np.ndarray, condition: Condition) -> np.ndarray:
    """The rows [F, ...]; UserError if one is not such as the scene was trained with."""
    if rows.shape[1:] != condition.shape:
        found, expected = list(rows.shape[1:]), list(condition.shape)
        raise UserError(f"--{name}: rows of cameras have shape {found}, expected {expected}")
    unknown = np.flatnonzero(~condition.knows(rows))
    if len(unknown):
        raise UserError(
            f"--{name}: frame {unknown[0]} has {sizes_of(rows)[unknown[0]]:.4g}; expected "
            f"{_expected(name, condition)}"
        )
    return rows


def _expected(name: str, condition: Condition) -> str:
    least, most = condition.least, condition.most
    if name == "time":
        return f"a time from {least:.4g} to {most:.4g}, as the views of training have, or {_SWEEP}"
    if name == "light":
        return f"x,y,z, {least:.4g} to {most:.4g} from the middle of the scene, or {_ORBIT}"
    return f"the name of an image that was trained on, a:b:weight, or {_MEAN}"


def _choose_time(text: str, condition: Condition, num_frames: int) -> np.ndarray:
    if text == _SWEEP:
        return np.linspace(condition.least, condition.most, num_frames)
    return np.full(num_frames, _numbers("time", text, condition)[0])


def _choose_light(text: str, condition: Condition, num_frames: int) -> np.ndarray:
    if text == _ORBIT:
        angles = np.linspace(0, 2 * np.pi, num_frames, endpoint=False)
        around = np.stack([np.cos(angles), np.sin(angles), np.ones(num_frames)], -1)
        return math.sqrt(condition.least * condition.most / 2) * around
    return np.tile(_numbers("light", text, condition), [num_frames, 1])


def _choose_appearance(text: str, condition: Condition, num_frames: int) -> np.ndarray:
    named = condition.named or {}
    if text == _MEAN:
        code = np.mean(list(named.values()), axis=0)
    else:
        code = _named_code(text, named)
        if code is None:
            code = _blend(text, named)
    if code is None:
        raise UserError(f"--appearance={text}: expected {_expected('appearance', condition)}")
    return np.tile(code, [num_frames, 1])


def _named_code(name: str, named: Mapping[str, list[float]]) -> np.ndarray | None:
    """The code of an image, with the suffix of its file or without; None if there is none."""
    code = named.get(name, named.get(PurePath(name).stem))
    return None if code is None else np.array(code)


def _blend(text: str, named: Mapping[str, list[float]]) -> np.ndarray | None:
    """The code of a:b:weight, between those of two images; None if that is not what it says."""
    parts = text.split(":")
    if len(parts) != 3:
        return None
    first, second = _named_code(parts[0], named), _named_code(parts[1], named)
    try:
        weight = float(parts[2])
    except ValueError:
        return None
    if first is None or second is None or not 0 <= weight <= 1:
        return None
    return (1 - weight) * first + weight * second


def _numbers(name: str, text: str, condition: Condition) -> np.ndarray:
    """A row as text; UserError if it is none, or not one that the scene was trained with."""
    try:
        row = np.array([float(number) for number in text.split(",")])
    except ValueError:
        row = np.array([math.nan])
    rows = row[np.newaxis] if condition.shape else row
    if len(row) != math.prod(condition.shape) or not condition.knows(rows).all():
        raise UserError(f"--{name}={text}: expected {_expected(name, condition)}")
    return row


_CHOICES = {"time": _choose_time, "light": _choose_light, "appearance": _choose_appearance}
