"""Starting commands as users do: real processes."""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

ROOT = Path(__file__).parents[1]
QUIET = "TF_CPP_MIN_LOG_LEVEL"
"""Set for the tests, but not for users: commands are to be quiet of their own accord."""


def start(
    module: str,
    *arguments: str,
    env: dict[str, str] | None = None,
    limits: dict[int, int] | None = None,
) -> subprocess.Popen:
    """Starts `python -m module`; `limits` bounds what it may use (`resource.RLIMIT_...`)."""

    def set_limits() -> None:
        for kind, bound in (limits or {}).items():
            resource.setrlimit(kind, (bound, bound))

    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env={name: value for name, value in {**os.environ, **(env or {})}.items() if name != QUIET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Forking runs gRPC's handlers, which do not survive it; without limits nothing is forked.
        preexec_fn=set_limits if limits else None,
    )


def finish(process: subprocess.Popen, status: int = 0) -> str:
    """Waits for the end and returns what was printed."""
    output, _ = process.communicate(timeout=240)
    assert process.returncode == status, output
    return output


def signal_other_thread(process: subprocess.Popen, number: int) -> None:
    """Sends a signal that the kernel hands to another thread than the main one, as it may."""
    threads = sorted(int(path.name) for path in Path(f"/proc/{process.pid}/task").iterdir())
    assert ctypes.CDLL(None).tgkill(process.pid, threads[1], number) == 0


def run(module: str, *arguments: str, status: int = 0) -> str:
    """Runs a command to its end and returns what it printed."""
    return finish(start(module, *arguments), status)


def run_all(commands: list[tuple[str, list[str]]], status: int = 0) -> list[str]:
    """Runs commands, some at a time, and returns what each printed."""
    with futures.ThreadPoolExecutor(3) as pool:
        return list(pool.map(lambda each: run(each[0], *each[1], status=status), commands))


def wait_for(condition: Callable[[], bool], process: subprocess.Popen) -> None:
    """Until something is so, while the process lives."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def wait_until(condition: Callable[[], bool]) -> None:
    """Until something is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_serving(server: subprocess.Popen) -> str:
    """The address of a `serving.server`, once it says that it serves."""
    for line in server.stdout or ():
        if line.startswith("{") and json.loads(line)["message"] == "serving":
            return str(json.loads(line)["address"])
    raise AssertionError(server.communicate()[0])
