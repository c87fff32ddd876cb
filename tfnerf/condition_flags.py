"""Flags that choose the time, the light and the appearance of pictures."""

from __future__ import annotations

from absl import flags

flags.disclaim_key_flags()  # they belong to the command that defines them: its --help lists them
_HELP = {
    "time": "Of a scene that moves: a time from 0 to 1, or sweep: from the first to the last.",
    "light": "Of a scene that can be relit: where the light is, x,y,z in world coordinates, or "
    "orbit: around the scene.",
    "appearance": "Of a scene with codes for its images: the name of an image that was trained "
    "on, a:b:weight for one between two, or mean. Default: mean, and of training views their own.",
}


def define_condition_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for each condition, as key flags of the module that calls it."""
    for name, text in _HELP.items():
        flags.DEFINE_string(name, None, text, flag_values)


def chosen_suffix() -> str:
    """For names of files, so that what is made at one time does not replace that of another."""
    chosen = [f"_{name}_{text}" for name, text in chosen_conditions().items() if text is not None]
    return "".join(chosen).replace("/", "_")


def chosen_conditions(flag_values: flags.FlagValues = flags.FLAGS) -> dict[str, str | None]:
    """What they say, by the name of the condition; None: nothing."""
    return {name: flag_values[name].value for name in _HELP}
