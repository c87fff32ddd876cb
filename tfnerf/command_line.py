"""What all commands share: quiet start, one-line errors, exit status."""

from __future__ import annotations

import functools
import gc
import logging
import math
import os
import runpy
import sys
from collections.abc import Callable

from absl import app, flags
from absl import logging as absl_logging

from tfnerf.errors import UserError, first_line

_EXTRAS = {
    "pycolmap": "poses",
    "pillow_heif": "poses",
    "skimage": "mesh",
    "trimesh": "mesh",
    "grpc": "serving",
    "grpc_health": "serving",
    "prometheus_client": "serving",
    "tensorflow_serving": "serving",
    "viser": "serving",
}
"""Modules that not every command needs, and the extra of setup.cfg that installs each."""


def run(main: Callable[..., int | None], *, with_arguments: bool = False) -> None:
    """Runs a command: parses its flags, calls `main`, exits with what it returns.

    A `UserError` ends in one line on stderr and status 1, Ctrl-C in status 130.

    Args:
      main: the command.
      with_arguments: it takes what is not a flag as arguments.
    """

    def guarded(arguments: list[str]) -> None:
        sys.exit(_guarded(main, arguments[1:], with_arguments))

    try:
        app.run(guarded, flags_parser=_parse_flags)
    except BrokenPipeError:  # whoever reads the help has seen enough
        _close_stdout()
        sys.exit(1)


def run_module(name: str) -> None:
    """The same as `python -m name`."""
    runpy.run_module(name, run_name="__main__", alter_sys=True)


# Entry points of the console scripts.
train = functools.partial(run_module, "tfnerf.train")
evaluate = functools.partial(run_module, "tfnerf.evaluate")
render = functools.partial(run_module, "tfnerf.render")
mesh = functools.partial(run_module, "tfnerf.mesh")
poses = functools.partial(run_module, "tfnerf.poses")
inspect = functools.partial(run_module, "tfnerf.inspect")
import_weights = functools.partial(run_module, "tfnerf.import_weights")
convert_config = functools.partial(run_module, "tfnerf.convert_config")
export = functools.partial(run_module, "export")
serve = functools.partial(run_module, "serving.server")
ask = functools.partial(run_module, "serving.client")
view = functools.partial(run_module, "serving.viewer")


def _parse_flags(arguments: list[str]) -> list[str]:
    try:
        rest = flags.FLAGS(arguments)
        _check_finite()
        return rest
    except flags.Error as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


def _check_finite() -> None:
    """Raises IllegalFlagValueError for nan and inf, which the bounds of flags let pass."""
    for name, value in flags.FLAGS.flag_values_dict().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise flags.IllegalFlagValueError(f"flag --{name}={value}: expected a finite number")


def import_tensorflow() -> None:
    """Imports TensorFlow without the page of log lines that it greets with.

    Some of them obey no setting, so the process's stderr is closed meanwhile. Whoever wants to see
    them sets TF_CPP_MIN_LOG_LEVEL, for example to 0.
    """
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    gc.disable()  # what is imported stays, and to look through it again and again takes a tenth
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()  # looks for GPUs, and says so
    finally:
        gc.enable()
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _guarded(main: Callable[..., int | None], arguments: list[str], with_arguments: bool) -> int:
    _log_to_stderr()
    try:
        if arguments and not with_arguments:
            raise UserError(f"{arguments[0]}: not a flag; flags begin with --")
        return main(*arguments) or 0
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        module = str(error.name).partition(".")[0]
        if module not in _EXTRAS:
            raise
        mend = f"install tfnerf with its extra, as in: pip install '.[{_EXTRAS[module]}]'"
        print(f"error: {module}: not installed, and this command needs it; {mend}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # whoever reads our output has seen enough
        _close_stdout()
        return 1
    except Exception as error:
        # TensorFlow's by its name, because not every command loads it.
        if type(error).__name__ != "ResourceExhaustedError" and not isinstance(error, MemoryError):
            raise
        print(f"error: {_out_of_memory(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def _out_of_memory(error: Exception) -> str:
    text = "out of memory"
    if "rays_per_chunk" in flags.FLAGS:
        text += ": a lower --rays_per_chunk may help, and changes no result"
    return f"{text} ({first_line(error)})"


def _close_stdout() -> None:
    """So that what is still to be written goes nowhere, without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _log_to_stderr() -> None:
    """Messages of this package as plain lines; those of others from warnings on."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("tfnerf")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    log.propagate = False
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # warns of v1 loaders
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it says there is in its errors too
