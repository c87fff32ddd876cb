"""What README and docs say is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from commands import ROOT
from trained import make_run

from export.signatures import scene_signatures
from tfnerf.runs.trained import TrainedRun

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

pytestmark = pytest.mark.slow


def test_the_quick_start_in_python_renders_a_view(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "runs" / "demo")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{code}"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=240)
    run = TrainedRun.load(str(folder))
    scene = run.scene()
    image = run.image_renderer(scene)(scene.splits["test"].cameras, 0)
    shown = imageio.imread(tmp_path / "view.png")
    np.testing.assert_array_equal(shown, np.rint(255 * np.clip(image.rgb, 0, 1)))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if not link.startswith("http"):
            assert (document.parent / link).exists(), link


def test_commands_that_documents_name_exist() -> None:
    for document in DOCUMENTS:
        for module in re.findall(r"python -m ([a-z_.]+)", document.read_text()):
            if module in ("venv", "pytest"):
                continue
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_flagfiles_of_the_table_are_all_there_are() -> None:
    named = set(re.findall(r"\| `([\w/{},]+\.txt)` \|", (ROOT / "README.md").read_text()))
    named = {part for name in named for part in _spelled_out(name)}
    there = {str(path.relative_to(ROOT / "configs")) for path in (ROOT / "configs").rglob("*.txt")}
    assert named - {"flags.txt"} == there


def _spelled_out(name: str) -> list[str]:
    match = re.fullmatch(r"(.*)\{(.*)\}(.*)", name)
    if match is None:
        return [name]
    return [f"{match[1]}{kind}{match[3]}" for kind in match[2].split(",")]


def test_signatures_are_those_of_the_table() -> None:
    text = (ROOT / "docs" / "serving.md").read_text()
    rows = dict(re.findall(r"(?m)^\| `(\w+)` \| (.*) \|$", text))
    for name, signature in scene_signatures({}).items():
        inputs, outputs = rows[name].split(" | ")
        for tensors, cell in ((signature.inputs, inputs), (signature.outputs, outputs)):
            assert re.findall(r"(\w+) \[", cell) == [tensor.name for tensor in tensors]
            sizes = [
                tuple(map(int, size.split(",")[1:])) for size in re.findall(r"\[(.*?)\]", cell)
            ]
            assert sizes == [tensor.shape for tensor in tensors]
