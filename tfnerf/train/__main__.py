"""Trains a NeRF: a scene folder in, a run folder out.

python -m tfnerf.train --flagfile=configs/lego.txt --data_dir=data/nerf_synthetic/lego
"""

from __future__ import annotations

import logging

import numpy as np

from tfnerf import command_line
from tfnerf.flags import config_from_flags, define_flags

_log = logging.getLogger("tfnerf.train")


def main() -> int:
    """Trains; returns the exit status."""
    config = config_from_flags()
    # Here, so that --help and mistakes in flags need not wait for TensorFlow.
    command_line.import_tensorflow()
    from tfnerf.runs.begin import begin_run
    from tfnerf.runs.folder import RunFolder
    from tfnerf.runs.scene_record import with_axes_of_run
    from tfnerf.scenes import load_scene
    from tfnerf.train.distribution import is_chief, make_strategy
    from tfnerf.train.loop import InterruptedRunError, train

    strategy = make_strategy(config.training.distribution)
    scene = load_scene(config.scene)
    config = config.replaced(ndc=scene.ndc is not None)  # so that the run says what it did
    folder = RunFolder.of(config)
    scene = with_axes_of_run(scene, folder)
    if is_chief(strategy):
        begin_run(config, folder, scene)
    views = scene.train
    _log.info(
        "%s: %d training views of %d x %d pixels, near %g, far %g; %d device(s); run folder %s",
        scene.name,
        len(views),
        views.cameras.width,
        views.cameras.height,
        scene.near,
        scene.far,
        strategy.num_replicas_in_sync,
        folder.path,
    )
    try:
        measured = train(config, scene, folder, strategy)
    except InterruptedRunError as interruption:
        _log.info("%s", interruption)
        return interruption.exit_status
    if measured:
        _log.info(
            "%d held-out views%s: PSNR %.2f dB, SSIM %.3f",
            len(measured),
            ", under the mean appearance" if config.network.appearance_width else "",
            np.mean([view.exact.psnr for view in measured]),
            np.mean([view.exact.ssim for view in measured]),
        )
    _log.info(
        "checkpoints, metrics and pictures: %s\ncurves: tensorboard --logdir=%s",
        folder.path,
        folder.tensorboard,
    )
    return 0


if __name__ == "__main__":
    define_flags()
    command_line.run(main)
