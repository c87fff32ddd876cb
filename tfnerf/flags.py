"""Flags: made from the settings, read into a `Config`, written to a flagfile and read back."""

from __future__ import annotations

import dataclasses
import logging
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from absl import flags

from tfnerf.errors import UserError
from tfnerf.files import absolute
from tfnerf.formats import detect_dataset
from tfnerf.settings import (
    SECTIONS,
    Config,
    SamplerKind,
    SceneSettings,
    choices_of,
    flag_settings,
    flag_text,
)

_log = logging.getLogger(__name__)
flags.disclaim_key_flags()  # they belong to the command that defines them: its --help lists them


def define_flags(
    flag_values: flags.FlagValues = flags.FLAGS, *, sections: Iterable[str] = SECTIONS
) -> None:
    """Defines a flag for each setting, as key flags of the module that calls it.

    Args:
      flag_values: where to.
      sections: those of `Config` that the command has a use for.
    """
    for section in sections:
        types = typing.get_type_hints(SECTIONS[section])
        for field in dataclasses.fields(SECTIONS[section]):
            _define(field, types[field.name], flag_values)


def define_run_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines the flags of commands that work on a trained run."""
    flags.DEFINE_string("run_dir", None, "Folder of the trained run.", flag_values)
    flags.DEFINE_string(
        "data_dir", None, "Folder of the scene, if it is no longer where it was.", flag_values
    )
    flags.DEFINE_integer(
        "rays_per_chunk",
        None,
        "Rays rendered at a time; fewer need less memory. Default: what the flags of the run say, "
        "else as many as fit.",
        lower_bound=1,
        flag_values=flag_values,
    )
    flags.DEFINE_enum(
        "sampler",
        None,
        typing.get_args(SamplerKind),
        "Where along a ray to look; grid makes pictures of runs that were trained hierarchical "
        "many times faster, and what that costs is measured. Default: as in training.",
        flag_values=flag_values,
    )
    flags.DEFINE_integer(
        "num_samples",
        None,
        "Samples per ray with a grid; fewer are faster. Default: as in training, 12 for a run that "
        "was trained hierarchical.",
        lower_bound=1,
        flag_values=flag_values,
    )


def run_arguments(flag_values: flags.FlagValues = flags.FLAGS) -> dict[str, Any]:
    """These flags as the arguments of `TrainedRun.load`; UserError if there is no --run_dir."""
    if not flag_values.run_dir:
        raise UserError("--run_dir: not given, expected the folder of a trained run")
    data_dir = flag_values.data_dir
    return {
        "run_dir": flag_values.run_dir,
        "data_dir": str(absolute(data_dir)) if data_dir else None,
        "rays_per_chunk": flag_values.rays_per_chunk,
        "sampler": flag_values.sampler,
        "num_samples": flag_values.num_samples,
    }


def _define(field: dataclasses.Field, kind: Any, flag_values: flags.FlagValues) -> None:
    arguments: tuple[str, Any] = (field.name, field.default)
    options = {"help": field.metadata["help"], "flag_values": flag_values}
    kinds = typing.get_args(kind)
    if choices := choices_of(kind):
        flags.DEFINE_enum(*arguments, enum_values=choices, **options)
    elif bool in (kind, *kinds):
        flags.DEFINE_bool(*arguments, **options)
    elif int in (kind, *kinds):
        flags.DEFINE_integer(*arguments, **options)
    elif float in (kind, *kinds):
        flags.DEFINE_float(*arguments, **options)
    else:
        flags.DEFINE_string(*arguments, **options)


def config_from_flags(flag_values: flags.FlagValues = flags.FLAGS) -> Config:
    """The flags as settings, folders as absolute paths, defaults that depend on others resolved.

    Raises:
      UserError: a value that its flag cannot have.
    """
    sections = {name: _section(name, flag_values) for name in SECTIONS if name != "scene"}
    config = Config(scene=scene_from_flags(flag_values), **sections)
    output_dir = str(absolute(config.run.output_dir))
    return dataclasses.replace(config, run=dataclasses.replace(config.run, output_dir=output_dir))


def scene_from_flags(flag_values: flags.FlagValues = flags.FLAGS) -> SceneSettings:
    """The flags of the scene alone; as `config_from_flags`."""
    if flag_values.dataset == "auto" and flag_values.data_dir:
        flag_values["dataset"].value = detect_dataset(absolute(flag_values.data_dir))
        _log.info("%s: read as --dataset=%s", flag_values.data_dir, flag_values.dataset)
    scene: SceneSettings = _section("scene", flag_values)
    data_dir = str(absolute(scene.data_dir)) if scene.data_dir else ""
    return dataclasses.replace(scene, data_dir=data_dir, ndc=scene.uses_ndc)


def _section(name: str, flag_values: flags.FlagValues) -> Any:
    fields = dataclasses.fields(SECTIONS[name])
    return SECTIONS[name](**{field.name: flag_values[field.name].value for field in fields})


def to_flagfile(config: Config) -> str:
    """The settings as a flagfile, one flag per line; those that are None are left out."""
    return "".join(
        f"--{name}={flag_text(value)}\n"
        for name, value, _ in flag_settings(config)
        if value is not None
    )


def read_flagfile(path: Path) -> Config:
    """Reads a flagfile; UserError if it is missing or holds something else."""
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    try:
        flag_values(["", *flag_values.read_flags_from_files([f"--flagfile={path}"])])
        return config_from_flags(flag_values)
    except (flags.Error, UnicodeDecodeError, UserError) as error:
        raise UserError(f"{path}: {error}") from None
