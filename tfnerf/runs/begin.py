"""flags.txt: written when a run begins, compared when it goes on."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import tfnerf
from tfnerf.errors import UserError
from tfnerf.files import make_folder, write_file
from tfnerf.flags import read_flagfile, to_flagfile
from tfnerf.runs.checkpoints import list_checkpoints, step_of
from tfnerf.runs.folder import RunFolder
from tfnerf.runs.scene_record import check_same, warn_of_new_rules, write_record
from tfnerf.scenes import Scene
from tfnerf.settings import Config, flag_settings, flag_text


def begin_run(config: Config, folder: RunFolder, scene: Scene) -> None:
    """Makes the folder of a run, or checks that the run in it can go on, and writes its flags.

    The scene that it is trained on is written beside them.

    Before the first checkpoint there is nothing to lose, and any flags may be given.

    Raises:
      UserError: the folder cannot be written, is in use, holds a run with other flags, on another
        scene or with more steps, or holds something else.
    """
    _check_no_stranger(folder)
    text = to_flagfile(config)
    make_folder(folder.path)
    folder.lock()
    make_folder(folder.renders)
    saved = list_checkpoints(folder.checkpoints)
    if saved:
        before = read_flagfile(folder.flags)
        check_resumable(config, before, folder.flags)
        _check_scene(config, before, folder, scene)
        if step_of(saved[-1]) > config.training.num_steps:
            raise UserError(
                f"--num_steps={config.training.num_steps}: the run in {folder.path} has done "
                f"{step_of(saved[-1])} steps"
            )
        if to_flagfile(before) == text:
            return
    write_file(folder.flags, _header() + text)
    if not saved:
        write_record(folder.scene, scene)


def check_resumable(config: Config, before: Config, path: Path) -> None:
    """Raises UserError if a run that began as `before` cannot go on as `config`.

    Args:
      config: what is wanted now.
      before: what `path` holds.
      path: the flagfile of the run.
    """
    for (name, now, changeable), (_, then, _) in zip(flag_settings(config), flag_settings(before)):
        if now != then and not changeable:
            raise UserError(
                f"--{name}={flag_text(now)}: the run in {path.parent} began with "
                f"--{name}={flag_text(then)}; give that, or another --experiment"
            )


def _check_scene(config: Config, before: Config, folder: RunFolder, scene: Scene) -> None:
    """Raises UserError if a run would go on with another scene than it began with."""
    now, then = config.scene.data_dir, before.scene.data_dir
    if folder.scene.is_file():
        check_same(scene, folder.scene, now)
    elif now != then:
        raise UserError(
            f"--data_dir={now}: the run in {folder.path} began with --data_dir={then}, and has no "
            f"{folder.scene.name} to compare with; give that, or another --experiment"
        )
    else:  # of a version that wrote none
        warn_of_new_rules(before.scene, folder)
        write_record(folder.scene, scene)


def _check_no_stranger(folder: RunFolder) -> None:
    """Raises UserError if the folder holds files that no run wrote."""
    try:
        entries = {path.name for path in folder.path.iterdir()}
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"{folder.path}: not a folder of runs: {error.strerror}") from None
    visible = {name for name in entries if not name.startswith(".")}
    if visible and folder.flags.name not in visible:
        raise UserError(f"{folder.path}: not empty, and without flags.txt no run to resume")


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
