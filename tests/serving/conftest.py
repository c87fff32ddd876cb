"""Servers and versions for the tests of serving."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from servers import Serve, Server, make_version, publish


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a small scene, to be copied into the folders of models."""
    return make_version(tmp_path_factory.mktemp("version") / "1", seed=1)


@pytest.fixture(scope="session")
def other_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of the same scene that looks different."""
    return make_version(tmp_path_factory.mktemp("other") / "1", seed=2)


@pytest.fixture
def base_path(tmp_path: Path, version: Path) -> Path:
    folder = tmp_path / "models" / "disc"
    folder.mkdir(parents=True)
    publish(version, folder, 1)
    return folder


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts servers, which end with the test whatever happens."""
    started: list[Server] = []

    def start_one(*arguments: str, port: int = 0) -> Server:
        started.append(Server(*arguments, port=port))
        return started[-1]

    yield start_one
    for each in started:
        each.process.kill()
        each.process.wait()


@pytest.fixture
def server(serve: Serve, base_path: Path) -> Server:
    return serve("--model_name=disc", f"--model_base_path={base_path}", "--max_rows=100000")
