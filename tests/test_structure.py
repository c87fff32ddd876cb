"""The floors of the house: nothing imports upwards."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import ROOT

FLOORS = (
    (
        "tfnerf",
        "tfnerf.errors",
        "tfnerf.files",
        "tfnerf.progress",
        "tfnerf.random_numbers",
        "tfnerf.fingerprint",
    ),
    ("tfnerf.settings", "tfnerf.command_line", "tfnerf.condition_flags"),
    ("tfnerf.formats",),
    ("tfnerf.flags", "tfnerf.geometry", "tfnerf.images", "tfnerf.fields"),
    ("tfnerf.volume", "tfnerf.scenes", "tfnerf.original", "tfnerf.convert_config"),
    ("tfnerf.runs",),
    ("tfnerf.poses", "tfnerf.inspect", "tfnerf.evaluate", "tfnerf.render", "tfnerf.mesh"),
    ("tfnerf.train", "tfnerf.import_weights", "export"),
    ("benchmarks",),
)
"""Lowest first; what stands on one floor may use its neighbours."""
SERVING_MAY_USE = (
    "errors",
    "files",
    "progress",
    "command_line",
    "condition_flags",
    "images",
    "geometry",
)
"""Of tfnerf: it speaks the protocol and knows no networks."""
SERVING_FLOORS = (
    (
        "serving",
        "serving.errors",
        "serving.tensors",
        "serving.ports",
        "serving.pem",
        "serving.stopping",
    ),
    ("serving.version_folders",),
    ("serving.client", "serving.server", "serving.render_client"),
    ("serving.viewer",),
)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part not in ("__init__", "__main__"))


def modules(*folders: str) -> dict[str, Path]:
    return {module_of(path): path for folder in folders for path in (ROOT / folder).rglob("*.py")}


def imports_of(path: Path) -> Iterator[str]:
    """The modules of this project that a file imports, also inside its functions."""
    known = modules("tfnerf", "export", "serving", "benchmarks")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module in known:
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield inner if inner in known else node.module
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name in known)


def floor_of(module: str, floors: tuple[tuple[str, ...], ...]) -> int:
    """Of the longest name that the module is or lies in."""
    named = {name: floor for floor, names in enumerate(floors) for name in names}
    parts = module.split(".")
    for end in range(len(parts), 0, -1):
        name = ".".join(parts[:end])
        if name in named and (name == module or name not in ("tfnerf", "serving")):
            return named[name]
    raise AssertionError(f"{module} stands on no floor: add it to FLOORS")


@pytest.mark.parametrize(
    ("folders", "floors"),
    [(("tfnerf", "export", "benchmarks"), FLOORS), (("serving",), SERVING_FLOORS)],
    ids=["tfnerf", "serving"],
)
def test_nothing_imports_upwards(folders: tuple, floors: tuple) -> None:
    for module, path in modules(*folders).items():
        for imported in imports_of(path):
            if imported.split(".")[0] in folders:
                assert floor_of(imported, floors) <= floor_of(module, floors), (module, imported)


def test_serving_knows_no_networks() -> None:
    allowed = {f"tfnerf.{name}" for name in SERVING_MAY_USE}
    for module, path in modules("serving").items():
        for imported in imports_of(path):
            if imported.startswith("tfnerf") and imported != "tfnerf":
                assert ".".join(imported.split(".")[:2]) in allowed, (module, imported)
            assert not imported.startswith(("export", "benchmarks")), (module, imported)


def test_only_commands_read_flags() -> None:
    """Absl's flags are read where a command begins, or where flags are defined."""
    readers = {
        module
        for module, path in modules("tfnerf", "export", "serving").items()
        if "from absl import" in path.read_text()
        and path.name != "__main__.py"
        and "flags" in path.read_text().split("from absl import")[1].splitlines()[0]
    }
    assert readers == {
        "tfnerf.flags",
        "tfnerf.command_line",
        "tfnerf.condition_flags",
        "tfnerf.import_weights",
        "tfnerf.original.config",
        "serving.client.flags",
        "serving.pem",
    }


def test_paths_that_flags_name_may_begin_with_a_tilde() -> None:
    """Nothing is opened as it was typed; `with_home` and `absolute` come first."""
    typed = re.compile(
        r"\b(?:Path|open|load|read_\w+)\((?:(?:_[A-Z_]+|flag)\.value\b|flags\.FLAGS\b)"
        r"|\bPath\(path\) for path in \(?_[A-Z_]+\.value\b"
    )
    for module, path in modules("tfnerf", "export", "serving", "benchmarks").items():
        assert not typed.findall(path.read_text()), module


def test_every_folder_of_code_is_a_package_that_git_knows() -> None:
    """What setuptools does not find is not installed, and works from a checkout only."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no checkout of git")
    files = set(listed.stdout.splitlines())
    for module, path in modules("tfnerf", "export", "serving").items():
        file = str(path.relative_to(ROOT))
        assert file in files, f"{module}: git does not know {file}"
        assert str(Path(file).with_name("__init__.py")) in files, module
