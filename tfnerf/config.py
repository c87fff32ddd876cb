"""Flags: made from the settings, read into a `Config`, written to a flagfile and read back."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
import typing
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from absl import flags

import tfnerf
from tfnerf.errors import UserError
from tfnerf.files import make_folder, write_file
from tfnerf.run_folder import RunFolder
from tfnerf.settings import (
    Config,
    NetworkSettings,
    RenderSettings,
    RunSettings,
    SceneSettings,
    TrainingSettings,
)

flags.disclaim_key_flags()  # they belong to the command that defines them: its --help lists them

_SECTIONS: dict[str, Any] = {
    "scene": SceneSettings,
    "network": NetworkSettings,
    "rendering": RenderSettings,
    "training": TrainingSettings,
    "run": RunSettings,
}


def define_flags(flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Defines a flag for each setting, as key flags of the module that calls it."""
    for section in _SECTIONS.values():
        types = typing.get_type_hints(section)
        for field in dataclasses.fields(section):
            _define(field, types[field.name], flag_values)


def _define(field: dataclasses.Field, kind: Any, flag_values: flags.FlagValues) -> None:
    arguments: tuple[str, Any] = (field.name, field.default)
    options = {"help": field.metadata["help"], "flag_values": flag_values}
    kinds = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        flags.DEFINE_enum(*arguments, enum_values=kinds, **options)
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
    sections = {}
    for name, section in _SECTIONS.items():
        values = {
            field.name: flag_values[field.name].value for field in dataclasses.fields(section)
        }
        sections[name] = section(**values)
    config = Config(**sections)
    scene, run = config.scene, config.run
    data_dir = str(Path(scene.data_dir).expanduser().absolute()) if scene.data_dir else ""
    output_dir = str(Path(run.output_dir).expanduser().absolute())
    return dataclasses.replace(
        config,
        scene=dataclasses.replace(scene, data_dir=data_dir, ndc=scene.uses_ndc),
        run=dataclasses.replace(run, output_dir=output_dir),
    )


def to_flagfile(config: Config) -> str:
    """The settings as a flagfile, a flag a line; those that are None are left out."""
    return "".join(
        f"--{name}={_text(value)}\n" for name, value, _ in _settings(config) if value is not None
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


def check_resumable(config: Config, before: Config, path: Path) -> None:
    """Raises UserError if a run that began as `before` cannot go on as `config`.

    Args:
      config: what is wanted now.
      before: what `path` holds.
      path: the flagfile of the run.
    """
    for (name, now, changeable), (_, then, _) in zip(_settings(config), _settings(before)):
        if now != then and not changeable:
            raise UserError(
                f"--{name}={_text(now)}: the run in {path.parent} began with --{name}={_text(then)}"
                "; give that, or another --experiment"
            )


def begin_run(config: Config, folder: RunFolder) -> None:
    """Makes the folder of a run and writes its flags; a run that is there must have the same.

    Raises:
      UserError: the folder cannot be written, or holds a run with other flags, or something else.
    """
    if folder.flags.exists():
        check_resumable(config, read_flagfile(folder.flags), folder.flags)
    elif folder.path.is_dir() and any(folder.path.iterdir()):
        raise UserError(f"{folder.path}: not empty, and without flags.txt no run to resume")
    make_folder(folder.renders)
    write_file(folder.flags, _header() + to_flagfile(config))


def _header() -> str:
    """Comments that tell what wrote a flagfile."""
    versions = [f"python {platform.python_version()}", f"tfnerf {tfnerf.__version__}"]
    versions += [f"{name} {metadata.version(name)}" for name in ("tensorflow", "keras", "numpy")]
    return "".join(f"# {line}\n" for line in [*versions, f"commit {_git_commit()}"])


def _git_commit() -> str:
    source = Path(tfnerf.__file__).parent
    command = ["git", "-C", str(source), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _settings(config: Config) -> Iterator[tuple[str, Any, bool]]:
    """Name, value, and whether a resumed run may change it."""
    for section in _SECTIONS:
        settings = getattr(config, section)
        for field in dataclasses.fields(settings):
            yield field.name, getattr(settings, field.name), field.metadata["changeable"]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
