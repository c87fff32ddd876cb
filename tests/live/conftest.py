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
from trained import make_run

from export.exporting import export
from tfnerf.runs.trained import TrainedRun


@pytest.fixture(scope="session")
def model_base_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1 and 2 of a scene, of random weights."""
    folder = tmp_path_factory.mktemp("served")
    run = TrainedRun.load(str(make_run(folder / "run")))
    for _ in range(2):
        export(run, folder / "models" / "disc", "disc")
    return folder / "models" / "disc"


@pytest.fixture(scope="session")
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """The server that is asked."""
    address = os.environ.get("TFNERF_SERVING_ADDRESS")
    if address:
        yield connect(address, os.environ.get("TFNERF_SERVING_MODEL", "disc"))
        return
    base_path = request.getfixturevalue("model_base_path")
    arguments = ["--model_name=disc", f"--model_base_path={base_path}", "--port=0"]
    process = start("serving.server", *arguments, "--max_pixels=100000", "--max_rows=200000")
    try:
        yield connect(wait_until_serving(process), "disc")
    finally:
        process.terminate()
        process.communicate(timeout=60)
