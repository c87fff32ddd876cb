"""Files and folders that nobody meets half of."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT

from tfnerf.errors import UserError
from tfnerf.files import (
    absolute,
    read_json,
    remove_folder,
    remove_unfinished_files,
    sole_writer,
    to_json,
    with_home,
    write_file,
)


def test_a_tilde_is_a_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells leave it as it is in --run_dir=~/runs/lego."""
    monkeypatch.setenv("HOME", "/home/ada")
    assert with_home("~/runs/lego") == absolute("~/runs/lego") == Path("/home/ada/runs/lego")
    assert with_home("runs/~lego") == Path("runs/~lego")
    with pytest.raises(UserError, match="~nobody-of-this-name/runs"):
        with_home("~nobody-of-this-name/runs")


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_file(path, "first")
    inode = path.stat().st_ino
    write_file(path, b"second")
    assert path.read_bytes() == b"second"
    assert path.stat().st_ino != inode  # whoever has the old one open goes on reading it
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    """A file may grow to 4 kB only, as on a disk that is nearly full."""
    path = tmp_path / "a.txt"
    write_file(path, "first")
    code = (
        "import pathlib, signal, sys; from tfnerf.files import write_file; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "write_file(pathlib.Path(sys.argv[1]), 'x' * 9999)"
    )

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    process = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        cwd=ROOT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "a.txt: cannot be written: File too large" in process.stderr
    assert path.read_text() == "first"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_that_is_not_there_is_an_error_of_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"b\.txt: cannot be written: No such file or directory"):
        write_file(tmp_path / "none" / "b.txt", "text")


def test_what_a_killed_write_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    left = tmp_path / "deep" / f".a.txt.{os.getpid()}.unfinished"
    others = [tmp_path / name for name in (".a.unfinished", ".hidden", "b.1.unfinished")]
    left.parent.mkdir()
    for path in (left, *others):
        path.write_text("")
    remove_unfinished_files(tmp_path)
    assert not left.exists()
    assert all(path.exists() for path in others)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with (
        sole_writer(tmp_path),
        pytest.raises(UserError, match="another process is writing to it"),
        sole_writer(tmp_path),
    ):
        pass
    with sole_writer(tmp_path):
        pass


def test_removing_a_link_leaves_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there")
    remove_folder(tmp_path / "link")
    assert [entry.name for entry in tmp_path.iterdir()] == ["there"]


def test_json_knows_no_infinity(tmp_path: Path) -> None:
    text = to_json({"a": [math.inf, 1.5], "b": (math.nan, {"c": -math.inf})})
    assert json.loads(text) == {"a": [None, 1.5], "b": [None, {"c": None}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        (b"{", "not readable as JSON"),
        (b"\xff\xfe", "not readable as JSON"),
        (b"[1]", "found a JSON list, expected an object"),
        (b"[" * 100_000, "not readable as JSON"),
    ],
)
def test_json_that_is_none_is_said_in_one_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_json(path)
