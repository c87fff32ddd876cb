"""Measures a trained run: renders a split, compares it with the photographs and with the paper.

python -m tfnerf.evaluate --run_dir=runs/lego
python -m tfnerf.evaluate --compare=runs/lego,runs/fern --table_format=markdown
"""

from __future__ import annotations

import logging

from absl import flags

from tfnerf import command_line
from tfnerf.errors import UserError
from tfnerf.evaluate.tables import (
    TABLE_FORMATS,
    comparison_table,
    difference_note,
    result_table,
)
from tfnerf.files import with_home
from tfnerf.flags import define_run_flags, read_flagfile, run_arguments

_log = logging.getLogger("tfnerf.evaluate")
_SPLIT = flags.DEFINE_enum("split", "test", ["train", "val", "test"], "Which views.")
_WORLD_DEPTH = flags.DEFINE_bool(
    "world_depth", False, "Write depths in world units too, as numbers: NPY and 16-bit PNG."
)
_RIGHT_HALVES = flags.DEFINE_bool(
    "right_halves",
    False,
    "Measure right halves of views only, to compare with runs that have codes of appearance, whose "
    "left halves codes are fitted to.",
)
_COMPARE = flags.DEFINE_list(
    "compare", [], "Instead: one table of these run folders, which were evaluated before."
)
_TABLE_FORMAT = flags.DEFINE_enum("table_format", "text", TABLE_FORMATS, "How to print the table.")
_OF_ONE_RUN = (
    *("world_depth", "right_halves"),
    *("data_dir", "rays_per_chunk", "sampler", "num_samples"),
)
"""Flags that say how one is evaluated."""


def main() -> None:
    """Evaluates a run, or compares runs that were evaluated."""
    if _COMPARE.value and flags.FLAGS.run_dir:
        raise UserError("--run_dir and --compare: expected one of them")
    for name in _OF_ONE_RUN:
        if _COMPARE.value and flags.FLAGS[name].present:
            raise UserError(f"--{name}: runs of --compare were evaluated before")
    command_line.import_tensorflow()
    if _COMPARE.value:
        _compare()
    else:
        _evaluate()


def _evaluate() -> None:
    from tfnerf.evaluate.lpips import load_lpips
    from tfnerf.evaluate.split import evaluate_split
    from tfnerf.runs.trained import TrainedRun

    run = TrainedRun.load(**run_arguments())
    evaluation = evaluate_split(
        run,
        _SPLIT.value,
        load_lpips(),
        world_depth=_WORLD_DEPTH.value,
        right_halves=_RIGHT_HALVES.value,
    )
    print(result_table(run.config, evaluation, _TABLE_FORMAT.value))
    _log.info("%s", difference_note(run.config, evaluation))
    _log.info("pictures and metrics.json: %s", run.eval_folder(_SPLIT.value))


def _compare() -> None:
    from tfnerf.evaluate.split import read_evaluation
    from tfnerf.runs.folder import RunFolder

    folders = [RunFolder(with_home(path)) for path in _COMPARE.value]
    runs = [
        (str(folder.path), read_flagfile(folder.flags), read_evaluation(folder, _SPLIT.value))
        for folder in folders
    ]
    print(comparison_table(runs, _TABLE_FORMAT.value))


if __name__ == "__main__":
    define_run_flags()
    command_line.run(main)
