"""Tables of results, beside what the paper reports."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from tabulate import tabulate

from tfnerf.evaluate.published import differences, published_row
from tfnerf.settings import Config

TABLE_FORMATS = ("text", "markdown", "csv")
_MEASURES = ("psnr", "ssim", "lpips")
_DIGITS = {"psnr": ".2f", "ssim": ".3f", "lpips": ".3f"}


def result_table(config: Config, evaluation: dict[str, Any], table_format: str) -> str:
    """One run beside the published row of its scene.

    Args:
      config: of the run.
      evaluation: content of its metrics.json.
      table_format: one of TABLE_FORMATS.
    """
    mean = evaluation["mean"]
    rows = [
        ["float", *_texts(mean, "")],
        ["8-bit, as published", *_texts(mean, "published_")],
    ]
    row = published_row(config.scene, evaluation["scene"])
    if row is not None:
        rows.append(["paper", *_texts(row._asdict(), "")])
    title = (
        f"{evaluation['scene']}, {evaluation['split']}: {_views(evaluation)} views, "
        f"step {evaluation['step']}"
    )
    return _table([title, "PSNR", "SSIM", "LPIPS"], rows, table_format)


def comparison_table(runs: Sequence[tuple[str, Config, dict[str, Any]]], table_format: str) -> str:
    """Several runs, a row each.

    Args:
      runs: name, settings, and content of metrics.json of each.
      table_format: one of TABLE_FORMATS.
    """
    headers = ["run", "scene", "step", "views", "PSNR", "SSIM", "LPIPS"]
    headers += [f"{name} 8-bit" for name in ("PSNR", "SSIM", "LPIPS")]
    headers += [f"{name} paper" for name in ("PSNR", "SSIM", "LPIPS")]
    rows = []
    for name, config, evaluation in runs:
        mean = evaluation["mean"]
        row = published_row(config.scene, evaluation["scene"])
        rows.append(
            [
                name,
                evaluation["scene"],
                str(evaluation["step"]),
                _views(evaluation),
                *_texts(mean, ""),
                *_texts(mean, "published_"),
                *_texts(row._asdict() if row else {}, ""),
            ]
        )
    return _table(headers, rows, table_format)


def _views(evaluation: dict[str, Any]) -> str:
    """How many, and what of them was measured if that is not all."""
    num_views = len(evaluation["views"])
    return f"{num_views}, {evaluation['measured']}" if "measured" in evaluation else str(num_views)


def difference_note(config: Config, evaluation: dict[str, Any]) -> str:
    """A line on what keeps a result from being comparable with the paper's; empty if nothing."""
    if published_row(config.scene, evaluation["scene"]) is None:
        return f"{evaluation['scene']} is not in the paper."
    found = differences(config, evaluation["step"])
    if evaluation["split"] != "test":
        found.insert(0, f"--split={evaluation['split']} (paper: test)")
    return f"Not as in the paper: {', '.join(found)}." if found else ""


def _texts(values: dict[str, float], prefix: str) -> list[str]:
    """A cell for each measure; empty where there is none. The PSNR of no error is null in JSON."""
    present = [values.get(prefix + name, "") for name in _MEASURES]
    texts = ["inf" if value is None else value for value in present]
    return [
        text if isinstance(text, str) else format(text, _DIGITS[name])
        for name, text in zip(_MEASURES, texts)
    ]


def _table(headers: list[str], rows: list[list[str]], table_format: str) -> str:
    if table_format == "csv":
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([headers, *rows])
        return buffer.getvalue().rstrip("\n")
    style = "github" if table_format == "markdown" else "simple"
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True)
