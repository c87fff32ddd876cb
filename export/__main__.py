"""Packages a trained run as a version of a SavedModel, for TF Serving or `serving.server`.

python -m export --run_dir=runs/lego --model_base_path=models/lego
"""

from __future__ import annotations

import logging

from absl import flags

from serving.version_folders import MAX_VERSION
from tfnerf import command_line
from tfnerf.errors import UserError
from tfnerf.files import absolute
from tfnerf.flags import define_run_flags, run_arguments

_log = logging.getLogger("tfnerf.export")
_MODEL_BASE_PATH = flags.DEFINE_string("model_base_path", None, "Folder of versions.")
_MODEL_NAME = flags.DEFINE_string(
    "model_name", None, "That it will be served under; default: the name of the folder."
)
_VERSION = flags.DEFINE_integer(
    "version", None, "Its number; default: the next that is free.", 1, MAX_VERSION
)
_KEEP = flags.DEFINE_integer(
    "keep",
    None,
    "How many of the newest versions to keep, older ones are removed; default: all.",
    2,
)
_NUM_COARSE_SAMPLES = flags.DEFINE_integer(
    "num_coarse_samples", None, "Fewer are faster; default: as in training.", lower_bound=3
)
_NUM_FINE_SAMPLES = flags.DEFINE_integer(
    "num_fine_samples", None, "The same for the fine network.", lower_bound=0
)
_DTYPE = flags.DEFINE_enum(
    "dtype",
    "float32",
    ["float32", "bfloat16", "float16"],
    "Of the weights as they are stored; what it costs in PSNR is printed.",
)


def main() -> None:
    """Exports a run, and removes old versions."""
    if not _MODEL_BASE_PATH.value:
        raise UserError("--model_base_path: not given, expected the folder of versions")
    command_line.import_tensorflow()
    from export.exporting import export
    from export.versions import remove_old_versions
    from tfnerf.runs.trained import TrainedRun

    model_base_path = absolute(_MODEL_BASE_PATH.value)
    run = TrainedRun.load(**run_arguments())
    exported = export(
        run,
        model_base_path,
        _MODEL_NAME.value or model_base_path.name,
        version=_VERSION.value,
        num_coarse_samples=_NUM_COARSE_SAMPLES.value,
        num_fine_samples=_NUM_FINE_SAMPLES.value,
        dtype=_DTYPE.value,
    )
    if exported.psnr is None or exported.psnr_in_training is None:
        _log.info("%s", exported.path)
    else:
        _log.info(
            "%s: PSNR %.2f dB, %+.2f dB against the run (on some %s pixels%s)",
            exported.path,
            exported.psnr,
            exported.psnr - exported.psnr_in_training,
            "held-out" if exported.on_held_out else "training",
            ", under the mean appearance"
            if exported.on_held_out and run.config.network.appearance_width
            else "",
        )
    if _KEEP.value:
        for path in remove_old_versions(model_base_path, _KEEP.value, exported.path):
            _log.info("removed %s", path)


if __name__ == "__main__":
    define_run_flags()
    command_line.run(main)
