"""Evaluating the views of a split, so that a kill costs no more than the view it was at."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfnerf.errors import UserError
from tfnerf.evaluate.appearance import CodeFit
from tfnerf.evaluate.grid_cost import measure_cost
from tfnerf.evaluate.quality import Lpips, ViewQuality, color_error, measure_view
from tfnerf.files import (
    make_folder,
    remove_unfinished_files,
    sole_writer,
    to_json,
    write_file,
)
from tfnerf.fingerprint import fingerprint
from tfnerf.images import (
    WORLD_DEPTH,
    color_depth,
    color_map,
    depth_files,
    opaque_depth,
    truncated_to_8bit,
    write_depth,
    write_png,
)
from tfnerf.progress import progress_bar
from tfnerf.runs.folder import RunFolder
from tfnerf.runs.trained import TrainedRun
from tfnerf.scenes import Scene, Views, true_colors
from tfnerf.volume.image_renderer import Image

_log = logging.getLogger(__name__)
_FINISHED, _UNFINISHED = "metrics.json", ".unfinished.json"
_MAX_ERROR = 0.25
"""The error that the brightest colour of an error map stands for."""


class _Protocol(NamedTuple):
    """What is measured, and how."""

    lpips: Lpips | None
    """Measures LPIPS; None: it is not."""
    world_depth: bool
    """Depths are written in world units too."""
    right_halves: bool
    """Left halves of views do not count."""
    fits_codes: bool
    """A code of appearance is fitted to each left half."""


def evaluate_split(
    run: TrainedRun,
    split: str,
    lpips: Lpips | None = None,
    *,
    world_depth: bool = False,
    right_halves: bool = False,
) -> dict[str, Any]:
    """Renders and measures all views of a split into `eval/<split>/` of the run folder.

    With another sampler than in training it is `eval/<split>_grid/` or the like: see
    `TrainedRun.suffix`.

    Each view becomes `<name>.png` (truncated to 8 bits, as the paper's protocol has it),
    `depth/<name>.png` and `error/<name>.png`. What an interrupted evaluation of the same weights
    has done is not done again.

    A run with codes of appearance fits one to the left half of each view that was held out, and
    measures the right half.

    Args:
      run: the trained run.
      split: "train", "val" or "test".
      lpips: measures LPIPS; None: without.
      world_depth: whether to write `world_depth/<name>.npy` and `.png` too, depths in world units;
        one level of the PNG is `world_depth_per_level` of metrics.json.
      right_halves: whether right halves of views are all that is measured, to compare with runs
        that have codes.

    Returns:
      The content of metrics.json: step, scene, split, the mean over the views and each view; for a
      run that was given a grid after training what that costs, as "grid".

    Raises:
      UserError: the scene has no such split, or the folder cannot be written.
    """
    scene = run.scene([split])
    views = scene.splits.get(split)
    if views is None or not len(views):
        raise UserError(f"--split={split}: {scene.name} has no such views")
    if run.config.depends_on_conditions:
        _warn_of_unknown_views(run.scene_without_images(), views)
    folder = run.eval_folder(split)
    for part in ("", "depth", "error", *([WORLD_DEPTH] if world_depth else [])):
        make_folder(folder / part)
    with sole_writer(folder):
        remove_unfinished_files(folder)
        fits_codes = run.model.codes is not None and split != "train"
        protocol = _Protocol(lpips, world_depth, fits_codes or right_halves, fits_codes)
        return _evaluate(run, split, scene, views, folder, protocol)


def _evaluate(
    run: TrainedRun,
    split: str,
    scene: Scene,
    views: Views,
    folder: Path,
    protocol: _Protocol,
) -> dict[str, Any]:
    lpips, world_depth, right_halves, fits_codes = protocol
    identity = fingerprint(
        run.renderer(scene).fingerprint,
        lpips is not None,
        views.cameras,
        views.images,
        *(() if views.masks is None else (views.masks,)),
        *(("right halves",) if right_halves else ()),
    )
    results = _done_before(folder, identity, world_depth)
    missing = [index for index, name in enumerate(views.names) if name not in results]
    renderer = run.image_renderer(scene)
    fit = CodeFit(run.renderer(scene), scene, views) if fits_codes else None
    num_rays = views.cameras.height * views.cameras.width
    with progress_bar(split, len(missing) * num_rays) as progress:
        for index in missing:
            cameras, view = (views.cameras, index) if fit is None else (fit(index), 0)
            image = renderer(cameras, view, progress)
            truth = true_colors(scene, views, index)
            quality = measure_view(views, index, image, truth, lpips, right_half_only=right_halves)
            _write_pictures(folder, quality.name, scene, image, truth, world_depth)
            results[quality.name] = _flat(quality)
            done = {"fingerprint": identity, "views": list(results.values())}
            write_file(folder / _UNFINISHED, to_json(done))
            _log.info("%s: PSNR %.2f dB, SSIM %.3f", quality.name, *quality.exact[:2])
    in_order = [results[name] for name in views.names]
    cost = measure_cost(run, scene, views)
    content = {
        "step": run.step,
        "scene": scene.name,
        "split": split,
        "mean": _mean(in_order),
        **({"measured": "right halves"} if right_halves else {}),
        "views": in_order,
        **({} if cost is None else {"grid": cost._asdict()}),
        "world_depth_per_level": scene.world_depth_per_level,
        "fingerprint": identity,
    }
    write_file(folder / _FINISHED, to_json(content, indent=1) + "\n")
    (folder / _UNFINISHED).unlink(missing_ok=True)
    return content


def _warn_of_unknown_views(scene: Scene, views: Views) -> None:
    """Says how many views show a time or a light that was not trained."""
    num_unknown = len(views) - len(scene.known_views(views))
    if num_unknown:
        _log.warning(
            "%d of %d views show times or lights beyond those of the training views, which nothing "
            "was learned of",
            num_unknown,
            len(views),
        )


def read_evaluation(folder: RunFolder, split: str) -> dict[str, Any]:
    """What `evaluate_split` wrote; UserError where it did not."""
    path = folder.eval / split / _FINISHED
    content = _read(path)
    if content is None:
        raise UserError(
            f"{path}: found no evaluation; make it with "
            f"python -m tfnerf.evaluate --run_dir={folder.path} --split={split}"
        )
    return content


def _done_before(folder: Path, identity: str, world_depth: bool) -> dict[str, dict[str, Any]]:
    """Results by the name of their view, of views whose pictures are there."""
    for path in (folder / _UNFINISHED, folder / _FINISHED):
        content = _read(path)
        if content is not None and content["fingerprint"] == identity:
            return {
                view["name"]: view
                for view in content["views"]
                if all(file.is_file() for file in _files(folder, view["name"], world_depth))
            }
    # They would not belong to the pictures that are about to be written.
    (folder / _FINISHED).unlink(missing_ok=True)
    for file in (folder / WORLD_DEPTH).glob("*.*"):
        file.unlink()
    return {}


def _read(path: Path) -> dict[str, Any] | None:
    """A file of results; None if it is not there or is something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        complete = {"fingerprint", "views"} <= content.keys()
        return content if complete else None
    except (OSError, ValueError, AttributeError):
        return None


def _pictures(folder: Path, name: str) -> tuple[Path, Path, Path]:
    """Where the colours, the depth and the error of a view are."""
    file = f"{name}.png"
    return folder / file, folder / "depth" / file, folder / "error" / file


def _files(folder: Path, name: str, world_depth: bool) -> list[Path]:
    """All that is written of a view."""
    numbers = depth_files(folder / WORLD_DEPTH / name) if world_depth else []
    return [*_pictures(folder, name), *numbers]


def _write_pictures(
    folder: Path, name: str, scene: Scene, image: Image, truth: np.ndarray, world_depth: bool
) -> None:
    """Those of a view, and its depths as numbers where these are wanted."""
    colors, depth, error = _pictures(folder, name)
    write_png(colors, truncated_to_8bit(image.rgb))
    depths = opaque_depth(image.depth, image.opacity, scene.far)
    write_png(depth, color_depth(depths, scene.near, scene.far))
    write_png(error, color_map(color_error(image, truth) / _MAX_ERROR, "inferno"))
    if world_depth:
        in_world = image.scene_depth * scene.world_scale
        write_depth(folder / WORLD_DEPTH / name, in_world, scene.world_depth_per_level)


def _flat(quality: ViewQuality) -> dict[str, Any]:
    """A JSON object a view; measures that are not there are left out."""
    values = quality.exact._asdict()
    values |= {f"published_{name}": value for name, value in quality.published._asdict().items()}
    present = {name: value for name, value in values.items() if not math.isnan(value)}
    return {"name": quality.name, **present}


def _mean(views: list[dict[str, Any]]) -> dict[str, float]:
    """The mean of each measure over the views that have it."""
    names = dict.fromkeys(name for view in views for name in view if name != "name")
    return {
        name: float(np.mean([_number(view[name]) for view in views if name in view]))
        for name in names
    }


def _number(value: float | None) -> float:
    """The PSNR of a perfect picture is null in JSON."""
    return math.inf if value is None else value
