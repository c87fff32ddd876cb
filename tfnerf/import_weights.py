r"""Makes a run folder of weights that the original released, for all commands to work on.

python -m tfnerf.import_weights --coarse=model_200000.npy --fine=model_fine_200000.npy \
    --flagfile=configs/paper/blender.txt --data_dir=data/nerf_synthetic/lego --experiment=lego
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from tfnerf import command_line
from tfnerf.errors import UserError
from tfnerf.files import with_home
from tfnerf.flags import config_from_flags, define_flags
from tfnerf.settings import Config, NetworkSettings

if TYPE_CHECKING:
    from tfnerf.fields.model import NeRF
    from tfnerf.scenes import Scene

_log = logging.getLogger("tfnerf.import_weights")
_COARSE = flags.DEFINE_string("coarse", None, "model_NNNNNN.npy", required=True)
_FINE = flags.DEFINE_string("fine", None, "model_fine_NNNNNN.npy; none with --num_fine_samples=0.")


def main() -> None:
    """Writes a run folder with the weights of the files."""
    config = _through_corners(config_from_flags())
    for name, value in (("field", config.network.field), ("sampler", config.rendering.sampler)):
        if value not in ("mlp", "hierarchical"):
            raise UserError(
                f"--{name}={value}: the original's networks were not trained so; --sampler=grid on "
                "evaluate, render, mesh and export makes fast pictures of them"
            )
    if bool(_FINE.value) != (config.rendering.num_fine_samples > 0):
        raise UserError(
            f"--fine={_FINE.value}: found --num_fine_samples={config.rendering.num_fine_samples}; "
            "expected both, or none and 0"
        )
    if config.depends_on_conditions:
        raise UserError(
            "--time_model, --relightable and --appearance_width: the original's networks know none"
        )
    command_line.import_tensorflow()
    from tfnerf.fields.model import make_model
    from tfnerf.original.weights import network_settings, read_weights
    from tfnerf.runs.folder import RunFolder
    from tfnerf.scenes import load_scene
    from tfnerf.volume.scene_renderer import SceneRenderer

    paths = [with_home(path) for path in (_COARSE.value, _FINE.value) if path]
    weights = [read_weights(path) for path in paths]
    shapes = [network_settings(arrays, str(path)) for arrays, path in zip(weights, paths)]
    if len(set(shapes)) > 1:
        raise UserError(f"{paths[1]}: found a network of another shape than in {paths[0]}")
    config = dataclasses.replace(config, network=_agreeing(shapes[0]))
    scene = load_scene(config.scene)
    model = make_model(config)
    for network, arrays in zip((model.coarse, model.final), weights):
        network.set_weights(arrays)
    SceneRenderer.of(scene, model, config.rendering)  # or fail before anything is written
    step = _step_of(paths)
    _write_run(config, model, step, scene)
    _log.info("weights of step %d: %s", step, RunFolder.of(config).path)


def _through_corners(config: Config) -> Config:
    """The original's networks were trained on rays through pixel corners."""
    if flags.FLAGS["pixel_centers"].present:
        return config
    return config.replaced(pixel_centers=False)


def _agreeing(found: NetworkSettings) -> NetworkSettings:
    """The shape found in the files; UserError if a flag that was given says otherwise."""
    names = ["net_depth", "net_width", "skip_layer", "position_frequencies", "use_viewdirs"]
    if found.use_viewdirs:
        names += ["bottleneck_width", "direction_frequencies"]
    for name in names:
        flag, value = flags.FLAGS[name], getattr(found, name)
        if flag.present and flag.value != value:
            raise UserError(f"--{name}={flag.value}: found {value} in {_COARSE.value}")
    return dataclasses.replace(found, mixed_precision=flags.FLAGS.mixed_precision)


def _step_of(paths: list[Path]) -> int:
    """The number in the names of the files; 0 if there is none."""
    steps = {int(match[1]) for path in paths if (match := re.search(r"_(\d+)\.npy$", path.name))}
    if len(steps) > 1:
        raise UserError(f"{paths[1]}: found another step than in {paths[0]}")
    return steps.pop() if steps else 0


def _write_run(config: Config, model: NeRF, step: int, scene: Scene) -> None:
    """A run folder as training leaves it, Adam at its start."""
    from tfnerf.runs.begin import begin_run
    from tfnerf.runs.checkpoints import Checkpoints, list_checkpoints
    from tfnerf.runs.folder import RunFolder
    from tfnerf.train.loop import variables_of
    from tfnerf.train.optimizer import GroupedAdam

    folder = RunFolder.of(config)
    if list_checkpoints(folder.checkpoints):
        raise UserError(f"{folder.path}: found a run there; give another --experiment")
    optimizer = GroupedAdam(model.rate_groups(), config.training)
    optimizer.start_at(step)
    begin_run(config, folder, scene)
    Checkpoints(folder.checkpoints).save(step, variables_of(model, optimizer), keep=1)


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
