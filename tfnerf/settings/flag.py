"""Fields of settings that are flags, and the checks of their values."""

from __future__ import annotations

import dataclasses
import math
import re
import typing
from collections.abc import Mapping
from typing import Any, Literal

from tfnerf.errors import UserError


def flag(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    only_for: Mapping[str, tuple[str, ...]] | None = None,
    changeable: bool = False,
) -> Any:
    """A field that is a flag.

    Args:
      default: its value if it is not given.
      help: for `--help`.
      at_least: lower bound.
      above: exclusive lower bound.
      at_most: upper bound.
      only_for: values of other flags that it means something for, by the names of these flags;
        None: all.
      changeable: a resumed run may give it another value.
    """
    kinds = [kind for kinds in (only_for or {}).values() for kind in kinds]
    metadata = {
        "help": ", ".join(kinds) + ": " + help if kinds else help,
        "only_for": only_for or {},
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "changeable": changeable,
    }
    return dataclasses.field(default=default, metadata=metadata)


class Checked:
    """Checks every field of a settings dataclass against its choices and bounds."""

    def __post_init__(self) -> None:
        types = typing.get_type_hints(type(self))
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            _check(field.name, getattr(self, field.name), types[field.name], field.metadata)
        check_meaning([self])


def check_meaning(sections: list[Any]) -> None:
    """Raises UserError if a flag is given that means nothing for the value of another one.

    Args:
      sections: settings; flags that depend on one of another section are passed over.
    """
    values = {
        field.name: (field, getattr(section, field.name))
        for section in sections
        for field in dataclasses.fields(section)
    }
    for name, (field, value) in values.items():
        for other, kinds in field.metadata["only_for"].items():
            unknown = other not in values or values[other][1] is None
            if value != field.default and not unknown and values[other][1] not in kinds:
                raise UserError(
                    f"--{name}: means something for --{other}={' or '.join(kinds)} only, "
                    f"found --{other}={values[other][1]}"
                )


def choices_of(kind: Any) -> tuple[str, ...]:
    """The values that a type `Literal[...]`, or one that may also be None, allows; else none."""
    kinds = [kind, *typing.get_args(kind)]
    return next((typing.get_args(one) for one in kinds if typing.get_origin(one) is Literal), ())


def _check(name: str, value: Any, kind: Any, bounds: typing.Mapping[str, Any]) -> None:
    """Raises UserError if `value` is not one that the flag `name` may have."""
    if value is None:
        return
    choices = choices_of(kind)
    if choices and value not in choices:
        raise UserError(f"--{name}={value}: expected one of {', '.join(choices)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"--{name}={value}: expected a finite number")
    if bounds["at_least"] is not None and not value >= bounds["at_least"]:
        raise UserError(f"--{name}={value}: expected at least {bounds['at_least']}")
    if bounds["above"] is not None and not value > bounds["above"]:
        raise UserError(f"--{name}={value}: expected more than {bounds['above']}")
    if bounds["at_most"] is not None and not value <= bounds["at_most"]:
        raise UserError(f"--{name}={value}: expected at most {bounds['at_most']}")


def numbers_in(text: str, kind: type[int] | type[float] = int) -> tuple[Any, ...]:
    """Numbers of a kind, with commas between them; none if the text is anything else."""
    if re.fullmatch(r"[\d.,]+", text) is None:  # int() would take 1_000 and blanks
        return ()
    try:
        return tuple(kind(number) for number in text.split(","))
    except ValueError:
        return ()


def flag_text(value: Any) -> str:
    """A value as it is written behind a flag."""
    return str(value).lower() if isinstance(value, bool) else str(value)
