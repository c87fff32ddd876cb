"""The folder of a run: what is in it and where."""

from __future__ import annotations

import json
import logging
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import tfnerf
from tfnerf.config import check_resumable, read_flagfile, to_flagfile
from tfnerf.errors import UserError
from tfnerf.files import make_folder, write_file
from tfnerf.settings import Config

_log = logging.getLogger(__name__)


class RunFolder:
    """`<output_dir>/<experiment>/`.

    Attributes:
      path: the folder.
      flags: the flagfile that repeats the run.
      checkpoints: folder of checkpoints.
      tensorboard: folder of event files.
      metrics: a JSON object a line.
      renders: folder of pictures.
    """

    def __init__(self, path: Path):
        self.path = path
        self.flags = path / "flags.txt"
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.metrics = path / "metrics.jsonl"
        self.renders = path / "renders"

    @classmethod
    def of(cls, config: Config) -> RunFolder:
        """The folder that the settings name."""
        return cls(Path(config.run.output_dir) / config.run.experiment)

    def begin(self, config: Config) -> None:
        """Makes the folder and writes its flags; a run that is there must have the same.

        Raises:
          UserError: the folder cannot be written, or holds a run with other flags.
        """
        if self.flags.exists():
            check_resumable(config, read_flagfile(self.flags), self.flags)
        elif self.path.is_dir() and any(self.path.iterdir()):
            raise UserError(f"{self.path}: not empty, and without flags.txt no run to resume")
        make_folder(self.path)
        write_file(self.flags, _header() + to_flagfile(config))
        make_folder(self.renders)

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        try:
            with open(self.metrics, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise UserError(f"{self.metrics}: cannot be written: {error.strerror}") from None

    def drop_metrics_after(self, step: int) -> None:
        """Removes the lines of steps that a resumed run will do again, and a cut last line."""
        if not self.metrics.exists():
            return
        lines = self.metrics.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _step_of_line(line) <= step]
        if len(kept) < len(lines):
            write_file(self.metrics, "".join(kept))


def _step_of_line(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")


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
