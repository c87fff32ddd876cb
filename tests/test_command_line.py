"""What all commands share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, finish, start
from trained import make_run

pytestmark = pytest.mark.slow


def hidden(folder: Path, module: str) -> dict[str, str]:
    """An environment in which a module is as if it were not installed."""
    package = folder / "hidden" / module
    package.mkdir(parents=True)
    missing = f"raise ModuleNotFoundError('No module named {module}', name='{module}')"
    (package / "__init__.py").write_text(missing)
    return {"PYTHONPATH": str(package.parent)}


@pytest.mark.parametrize(
    ("module", "command", "missing", "extra"),
    [
        ("tfnerf.inspect", ["--dataset=builtin"], "skimage", "mesh"),
        ("tfnerf.mesh", ["--run_dir={run}"], "trimesh", "mesh"),
        ("export", ["--run_dir={run}", "--model_base_path=/none"], "tensorflow_serving", "serving"),
        ("serving.server", ["--model_name=a", "--model_base_path=/none"], "grpc", "serving"),
        ("serving.client", ["describe", "--model_name=a"], "tensorflow_serving", "serving"),
        ("serving.viewer", ["--model_name=a"], "tensorflow_serving", "serving"),
    ],
)
def test_a_command_without_its_extra_says_in_one_line_what_to_install(
    tmp_path: Path, module: str, command: list[str], missing: str, extra: str
) -> None:
    run = make_run(tmp_path / "run") if any("{run}" in flag for flag in command) else tmp_path
    arguments = [flag.format(run=run) for flag in command]
    process = start(module, *arguments, env=hidden(tmp_path, missing))
    *_, line = finish(process, status=1).splitlines()
    assert line == (  # and before it at most what was found out so far
        f"error: {missing}: not installed, and this command needs it; "
        f"install tfnerf with its extra, as in: pip install '.[{extra}]'"
    )


_TOO_LARGE = """
import sys
from tfnerf import command_line
from tfnerf.flags import define_run_flags

define_run_flags()

def main():
    import tensorflow as tf

    tf.fill([1 << 46], 1.0)

command_line.run(main)
"""


def test_memory_that_is_not_there_is_one_line() -> None:
    process = subprocess.run(
        [sys.executable, "-c", _TOO_LARGE],
        cwd=ROOT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert process.returncode == 1
    line = process.stderr.splitlines()[-1]
    assert line.startswith("error: out of memory: a lower --rays_per_chunk may help")
    assert "Traceback" not in process.stderr


def test_training_needs_no_extra(tmp_path: Path) -> None:
    """Nor tensorflow-graphics, which setup.cfg cannot ask for."""
    env = hidden(tmp_path, "tensorflow_graphics")
    for module in ("skimage", "trimesh", "grpc", "tensorflow_serving", "viser"):
        package = tmp_path / "hidden" / module
        package.mkdir()
        (package / "__init__.py").write_text(
            (tmp_path / "hidden" / "tensorflow_graphics" / "__init__.py").read_text()
        )
    flags = ["--net_depth=2", "--net_width=8", "--num_coarse_samples=4", "--num_fine_samples=4"]
    flags += ["--num_steps=2", "--batch_size=16", "--num_eval_views=1", f"--output_dir={tmp_path}"]
    output = finish(start("tfnerf.train", *flags, env=env))
    assert "1 held-out views: PSNR" in output
