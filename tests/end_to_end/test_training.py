"""Whole training runs, as a user starts them: real processes, real signals."""

from __future__ import annotations

import functools
import json
import resource
import signal
import socket
import subprocess
from pathlib import Path

import commands
import numpy as np
import pytest
import tensorflow as tf
from commands import finish, wait_for

from tfnerf.runs.checkpoints import list_checkpoints, step_of

NUM_STEPS = 300
"""So many that a run can be disturbed before it ends, on a fast machine too."""
SHORT = (
    "--dataset=builtin",
    "--builtin_size=32",
    "--white_background",
    "--batch_size=64",
    "--log_every=10",
    "--checkpoint_every=20",
    "--eval_every=0",
    "--num_eval_views=1",
)
SMALL = (
    *SHORT,
    "--net_depth=2",
    "--net_width=16",
    "--skip_layer=0",
    "--num_coarse_samples=8",
    "--num_fine_samples=8",
    "--learning_rate=5e-3",
    "--learning_rate_warmup_steps=5",
    "--jit_compile=off",
)
PLANES = (
    *SHORT,
    "--field=planes",
    "--first_plane_resolution=12",
    "--plane_resolution=24",
    "--grid_resolution=24",
    "--num_probes=32",
    "--num_samples=8",
    "--draws_per_ray=2",
    "--refine_steps=50,140,230",
)
"""With a box that shrinks and planes that grow beside and between checkpoints."""


def start(
    output_dir: Path,
    *arguments: str,
    settings: tuple[str, ...] = SMALL,
    env: dict[str, str] | None = None,
    limits: dict[int, int] | None = None,
) -> subprocess.Popen:
    """Starts a training."""
    small = [*settings, f"--output_dir={output_dir}", *arguments]
    return commands.start("tfnerf.train", *small, env=env, limits=limits)


def weights(run: Path) -> dict[str, np.ndarray]:
    """All numbers in the newest checkpoint."""
    path = list_checkpoints(run / "checkpoints")[-1] / "checkpoint"
    reader = tf.train.load_checkpoint(str(path))
    return {
        name: reader.get_tensor(name)
        for name in reader.get_variable_to_shape_map()
        if not name.startswith("_")
    }


def assert_same_weights(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys() and len(a) > 20
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def metrics(run: Path) -> list[dict]:
    """The lines of metrics.jsonl that training wrote."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    output = finish(start(folder, "--experiment=run", f"--num_steps={NUM_STEPS}"))
    assert "1 held-out views: PSNR" in output
    return folder / "run"


def test_a_run_leaves_everything_that_later_commands_need(uninterrupted: Path) -> None:
    flags = (uninterrupted / "flags.txt").read_text()
    assert "--net_width=16\n" in flags and "# tensorflow 2.21" in flags and "# commit " in flags
    steps = [step_of(path) for path in list_checkpoints(uninterrupted / "checkpoints")]
    assert steps == [NUM_STEPS - 40, NUM_STEPS - 20, NUM_STEPS]
    lines = metrics(uninterrupted)
    assert [line["step"] for line in lines] == list(range(10, NUM_STEPS + 10, 10))
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert {"loss", "psnr", "psnr_coarse", "learning_rate", "rays_per_second"} <= lines[0].keys()
    assert list((uninterrupted / "tensorboard").glob("events*"))


def test_its_flagfile_repeats_the_run(uninterrupted: Path, tmp_path: Path) -> None:
    flagfile = f"--flagfile={uninterrupted / 'flags.txt'}"
    commands.run("tfnerf.train", flagfile, f"--output_dir={tmp_path}")
    assert_same_weights(uninterrupted, tmp_path / "run")


def kill_at_several_moments(folder: Path, settings: tuple[str, ...]) -> str:
    """A run in `<folder>/run` that is killed four times; what it says when it is left to end."""
    run = folder / "run"
    begin_again = functools.partial(
        start, folder, "--experiment=run", f"--num_steps={NUM_STEPS}", settings=settings
    )
    checkpoints = run / "checkpoints"

    def newest() -> int:
        saved = list_checkpoints(checkpoints)
        return step_of(saved[-1]) if saved else 0

    moments = (
        lambda start: (run / "flags.txt").exists(),  # before the first step
        lambda start: (run / "metrics.jsonl").exists(),  # between log lines and checkpoints
        lambda start: newest() > start or list(checkpoints.glob(".step_*")),  # while it saves
        lambda start: newest() > start,
    )
    for moment in moments:
        begin = newest()
        process = begin_again()
        wait_for(functools.partial(moment, begin), process)
        process.kill()
        process.communicate()
        assert newest() < NUM_STEPS
    output = finish(begin_again())
    assert [line["step"] for line in metrics(run)] == list(range(10, NUM_STEPS + 10, 10))
    assert not list((run / "checkpoints").glob(".*"))
    return output


def test_killed_at_several_moments_and_resumed_equals_uninterrupted(
    uninterrupted: Path, tmp_path: Path
) -> None:
    output = kill_at_several_moments(tmp_path, SMALL)
    assert "resuming after step" in output
    assert_same_weights(uninterrupted, tmp_path / "run")


def test_planes_that_grow_resume_like_any_other_run(tmp_path: Path) -> None:
    whole = ("--experiment=whole", f"--num_steps={NUM_STEPS}")
    output = finish(start(tmp_path, *whole, settings=PLANES))
    assert "24 cells a side" in output
    assert len(list((tmp_path / "whole" / "renders").glob("grid_*.png"))) == 3
    kill_at_several_moments(tmp_path, PLANES)
    assert_same_weights(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_leaves_cleanly(
    uninterrupted: Path, tmp_path: Path, number: signal.Signals
) -> None:
    run = tmp_path / "run"
    process = start(tmp_path, "--experiment=run", "--num_steps=1000000")
    wait_for((run / "metrics.jsonl").exists, process)
    process.send_signal(number)
    output = finish(process, 128 + number)
    assert "run the same command again to resume" in output
    assert "Traceback" not in output
    step = step_of(list_checkpoints(run / "checkpoints")[-1])
    assert f"stopped after step {step}" in output
    assert step < NUM_STEPS, "too fast to say anything: make the run longer"
    finish(start(tmp_path, "--experiment=run", f"--num_steps={NUM_STEPS}"))
    assert_same_weights(uninterrupted, run)


def test_a_finished_run_can_be_made_longer(uninterrupted: Path, tmp_path: Path) -> None:
    finish(start(tmp_path, "--experiment=run", "--num_steps=30"))
    finish(start(tmp_path, "--experiment=run", f"--num_steps={NUM_STEPS}"))
    assert_same_weights(uninterrupted, tmp_path / "run")


def test_a_corrupt_newest_checkpoint_falls_back(uninterrupted: Path, tmp_path: Path) -> None:
    finish(start(tmp_path, "--experiment=run", "--num_steps=80"))
    newest = list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    data = next(newest.glob("*.data*"))
    data.write_bytes(data.read_bytes()[:100])
    output = finish(start(tmp_path, "--experiment=run", f"--num_steps={NUM_STEPS}"))
    assert "step_00000080: damaged checkpoint" in output
    assert "resuming after step 60" in output
    assert_same_weights(uninterrupted, tmp_path / "run")


def test_other_flags_are_refused_and_change_nothing(uninterrupted: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")}
    output = finish(
        start(
            uninterrupted.parent, "--experiment=run", f"--num_steps={NUM_STEPS}", "--net_width=8"
        ),
        1,
    )
    assert output.count("error: ") == 1
    assert "--net_width=8: the run in" in output and "--net_width=16" in output
    assert {path: path.stat().st_mtime_ns for path in uninterrupted.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=llff", "--data_dir=/nowhere"], "error: /nowhere: no such folder"),
        (["--dataset=blender"], "error: --data_dir: not given"),
        (["--dataset=nerf"], "error: flag --dataset=nerf: value should be one of"),
        (["--no_such_flag"], "error: Unknown command line flag 'no_such_flag'"),
        (["--flagfile=/nowhere.txt"], "error: "),
        (["train"], "error: train: not a flag"),
        (["--batch_size=0"], "error: --batch_size=0: expected at least 1"),
        (["--output_dir=/dev/null/runs"], "error: /dev/null/runs/default: "),
        (["--distribution=multi_worker"], "error: --distribution=multi_worker: needs TF_CONFIG"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path: Path, arguments: list[str], message: str) -> None:
    # Scenes of files refuse flags of the built-in one before anything else is looked at.
    settings = tuple(flag for flag in SMALL if not flag.startswith("--builtin"))
    output = finish(start(tmp_path / "runs", *arguments, settings=settings), 1)
    assert message in output
    assert len(output.splitlines()) == 1, output
    assert not (tmp_path / "runs").exists()


def test_a_first_start_that_fails_does_not_bind_the_next(tmp_path: Path) -> None:
    arguments = (tmp_path, "--experiment=run", "--num_steps=20", "--batching=one_image")
    output = finish(start(*arguments, "--batch_size=999999"), 1)
    assert "error: --batch_size=999999: expected at most the 1024 pixels" in output
    finish(start(*arguments, "--batch_size=32"))
    output = finish(start(*arguments, "--batch_size=32", "--num_steps=10"), 1)
    assert "--num_steps=10: the run in" in output and "has done 20 steps" in output


def test_two_processes_do_not_share_a_run(tmp_path: Path) -> None:
    arguments = (tmp_path, "--experiment=run", "--num_steps=1000000")
    first = start(*arguments)
    wait_for((tmp_path / "run" / "metrics.jsonl").exists, first)
    assert "another process is training in it" in finish(start(*arguments), 1)
    first.send_signal(signal.SIGTERM)
    finish(first, 128 + signal.SIGTERM)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("years of work")
    output = finish(start(tmp_path, "--experiment=run"), 1)
    assert "not empty, and without flags.txt no run to resume" in output
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.tex"]


def test_a_full_disk_loses_nothing(uninterrupted: Path, tmp_path: Path) -> None:
    """No file may grow beyond what flags need, so the second half's first checkpoint fails."""
    run = tmp_path / "run"
    finish(start(tmp_path, "--experiment=run", "--num_steps=60"))
    full = {resource.RLIMIT_FSIZE: 8192}
    output = finish(start(tmp_path, "--experiment=run", f"--num_steps={NUM_STEPS}", limits=full), 1)
    assert output.count("error: ") == 1
    assert "step_00000080: the checkpoint cannot be written" in output
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == [
        "step_00000020",
        "step_00000040",
        "step_00000060",
    ]
    finish(start(tmp_path, "--experiment=run", f"--num_steps={NUM_STEPS}"))
    assert_same_weights(uninterrupted, run)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_two_workers(
    output_dir: Path, num_steps: int, *own_arguments: list[str]
) -> list[subprocess.Popen]:
    """Two processes of one cluster, each with arguments of its own behind the common ones."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    workers = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        env = {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}
        own = own_arguments[index] if own_arguments else []
        common = ["--experiment=run", f"--num_steps={num_steps}"]
        workers.append(start(output_dir, *common, *own, env=env))
    return workers


def test_a_killed_worker_ends_the_other_and_both_can_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    chief, worker = start_two_workers(tmp_path, 1_000_000)
    wait_for(lambda: list_checkpoints(run / "checkpoints"), chief)
    worker.kill()
    assert "error: another worker is gone" in finish(chief, 1)
    worker.communicate()
    step = step_of(list_checkpoints(run / "checkpoints")[-1])
    for process in start_two_workers(tmp_path, step + 10):
        assert f"resuming after step {step}" in finish(process)


def test_a_signal_to_one_worker_stops_both(tmp_path: Path) -> None:
    run = tmp_path / "run"
    chief, worker = start_two_workers(tmp_path, 1_000_000)
    wait_for((run / "metrics.jsonl").exists, chief)
    worker.send_signal(signal.SIGTERM)
    outputs = [finish(process, 128 + signal.SIGTERM) for process in (worker, chief)]
    step = step_of(list_checkpoints(run / "checkpoints")[-1])
    assert all(f"stopped after step {step}" in output for output in outputs)


@pytest.mark.parametrize("flag", ["--learning_rate=1e-2", "--nopixel_centers"])
def test_workers_with_different_flags_are_refused(tmp_path: Path, flag: str) -> None:
    """Those of the scene too."""
    workers = start_two_workers(tmp_path, 100, [], [flag])
    outputs = [finish(worker, 1) for worker in workers]
    assert any("flags (as a checksum): found" in output for output in outputs)


def test_two_workers_train_like_one_process(uninterrupted: Path, tmp_path: Path) -> None:
    for worker in start_two_workers(tmp_path, NUM_STEPS):
        finish(worker)
    one, both = weights(uninterrupted), weights(tmp_path / "run")
    assert one.keys() == both.keys()
    assert metrics(tmp_path / "run")[-1]["step"] == NUM_STEPS
    # Sums over workers round otherwise, and hundreds of steps of Adam make much of little.
    alone, together = metrics(uninterrupted), metrics(tmp_path / "run")
    np.testing.assert_allclose(alone[0]["loss"], together[0]["loss"], rtol=1e-3)
    np.testing.assert_allclose(alone[-1]["psnr"], together[-1]["psnr"], atol=0.5)
