"""The folder of a run: what is in it and where."""

from __future__ import annotations

import fcntl
import json
import math
from pathlib import Path
from typing import Any

from tfnerf.errors import UserError
from tfnerf.files import to_json, write_file
from tfnerf.settings import Config


class RunFolder:
    """`<output_dir>/<experiment>/`.

    Attributes:
      path: the folder.
      flags: the flagfile that repeats the run.
      scene: scene.json, the scene that it was trained on, without photographs.
      checkpoints: folder of checkpoints.
      tensorboard: folder of event files.
      metrics_log: metrics.jsonl, one JSON object per line.
      renders: folder of pictures and videos.
      eval: folder of one folder per split, with pictures and metrics.json.
    """

    def __init__(self, path: Path):
        self.path = path
        self.flags = path / "flags.txt"
        self.scene = path / "scene.json"
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.metrics_log = path / "metrics.jsonl"
        self.renders = path / "renders"
        self.eval = path / "eval"

    @classmethod
    def of(cls, config: Config) -> RunFolder:
        """The folder that the settings name."""
        return cls(Path(config.run.output_dir) / config.run.experiment)

    def lock(self) -> None:
        """Keeps other processes from training in the folder for as long as this one lives."""
        try:
            self._lock = open(self.path / ".lock", "a")  # noqa: SIM115 (held until the end)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{self.path}: another process is training in it") from None
        except OSError as error:
            raise UserError(f"{self.path}: cannot be written: {error.strerror}") from None

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        try:
            with open(self.metrics_log, "a", encoding="utf-8") as file:
                file.write(to_json(line) + "\n")
        except OSError as error:
            raise UserError(f"{self.metrics_log}: cannot be written: {error.strerror}") from None

    def drop_metrics_after(self, step: int) -> None:
        """Removes the lines of steps that a resumed run will do again, and a cut last line."""
        if not self.metrics_log.exists():
            return
        lines = self.metrics_log.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if _step_of_line(line) <= step]
        if len(kept) < len(lines):
            write_file(self.metrics_log, "".join(kept))


def _step_of_line(line: str) -> float:
    """Infinite if a kill cut the line, be it only its end."""
    try:
        return float(json.loads(line)["step"]) if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf
