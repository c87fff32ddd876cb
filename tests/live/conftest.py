"""The server that the protocol suite asks: ours, or any other that is named.

With TFNERF_SERVING_ADDRESS (host:port) and TFNERF_SERVING_MODEL set, the suite asks that server,
for example a tensorflow_model_server that serves an export of any run. Without, it starts
serving.server on an export of a run of random weights.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import start, wait_until_serving
from peers import Served, connect
from small import small_config, small_scene, small_scene_under
from trained import make_run

from export.exporting import export
from tfnerf.runs.trained import TrainedRun

_ADDRESS = os.environ.get("TFNERF_SERVING_ADDRESS")


def write_versions(folder: Path, *, moving: bool) -> Path:
    """Versions 1 and 2 of a scene, of random weights: one that stands still, or one that moves."""
    changes = {"time_model": "deform", "relightable": True} if moving else {}
    config = small_config(white_background=True, **changes)
    scene = small_scene_under("time", "light") if moving else small_scene()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfnerf.runs.trained.load_scene", lambda *_: scene)
        run = TrainedRun.load(str(make_run(folder / "run", config)))
        for _ in range(2):
            export(run, folder / "models" / "disc", "disc")
    return folder / "models" / "disc"


@pytest.fixture(scope="session", params=["named"] if _ADDRESS else ["still", "moving"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The server that is asked."""
    if _ADDRESS:
        yield connect(_ADDRESS, os.environ.get("TFNERF_SERVING_MODEL", "disc"))
        return
    base_path = write_versions(tmp_path_factory.mktemp("served"), moving=request.param == "moving")
    arguments = ["--model_name=disc", f"--model_base_path={base_path}", "--port=0"]
    process = start("serving.server", *arguments, "--max_pixels=100000", "--max_rows=200000")
    try:
        yield connect(wait_until_serving(process), "disc")
    finally:
        process.terminate()
        process.communicate(timeout=60)
