"""What the paper reports for each scene, and the settings that it was trained with."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from tfnerf.settings import (
    Config,
    RenderSettings,
    SceneSettings,
    TrainingSettings,
    flag_settings,
    flag_text,
    means_something,
)


class PublishedRow(NamedTuple):
    """Means over the test views of a scene (tables 4 to 6)."""

    psnr: float
    """dB"""
    ssim: float
    lpips: float
    """With VGG features."""


_ROWS = {
    "blender": {
        "chair": PublishedRow(33.00, 0.967, 0.046),
        "drums": PublishedRow(25.01, 0.925, 0.091),
        "ficus": PublishedRow(30.13, 0.964, 0.044),
        "hotdog": PublishedRow(36.18, 0.974, 0.121),
        "lego": PublishedRow(32.54, 0.961, 0.050),
        "materials": PublishedRow(29.62, 0.949, 0.063),
        "mic": PublishedRow(32.91, 0.980, 0.028),
        "ship": PublishedRow(28.65, 0.856, 0.206),
    },
    "llff": {
        "room": PublishedRow(32.70, 0.948, 0.178),
        "fern": PublishedRow(25.17, 0.792, 0.280),
        "leaves": PublishedRow(20.92, 0.690, 0.316),
        "fortress": PublishedRow(31.16, 0.881, 0.171),
        "orchids": PublishedRow(20.36, 0.641, 0.321),
        "flower": PublishedRow(27.40, 0.827, 0.219),
        "trex": PublishedRow(26.80, 0.880, 0.249),
        "horns": PublishedRow(27.45, 0.828, 0.268),
    },
    # By the names of the folders; in the paper armchair is "chair" and greek "pedestal".
    "deepvoxels": {
        "armchair": PublishedRow(42.65, 0.991, 0.047),
        "greek": PublishedRow(41.44, 0.986, 0.024),
        "cube": PublishedRow(39.19, 0.996, 0.006),
        "vase": PublishedRow(37.32, 0.992, 0.017),
    },
}

_SAMPLES = RenderSettings(num_coarse_samples=64, num_fine_samples=128)
PAPER_CONFIGS = {
    "blender": Config(
        scene=SceneSettings(
            dataset="blender",
            white_background=True,
            resize_straight_alpha=True,
            pixel_centers=False,
            ndc=False,
        ),
        rendering=_SAMPLES,
        training=TrainingSettings(
            batching="one_image",
            batch_size=1024,
            learning_rate_decay_steps=500_000,
            num_steps=500_000,
        ),
    ),
    "llff": Config(
        scene=SceneSettings(
            dataset="llff", factor=4, holdout_every=8, pixel_centers=False, ndc=True
        ),
        rendering=dataclasses.replace(_SAMPLES, density_noise_std=1.0),
        training=TrainingSettings(
            batch_size=4096, learning_rate_decay_steps=250_000, num_steps=200_000
        ),
    ),
    "deepvoxels": Config(
        scene=SceneSettings(
            dataset="deepvoxels", white_background=True, pixel_centers=False, ndc=False
        ),
        rendering=_SAMPLES,
        training=TrainingSettings(
            batching="one_image",
            batch_size=4096,
            learning_rate_decay_steps=200_000,
            num_steps=200_000,
        ),
    ),
}
"""By data set; the same as the flagfiles in configs/paper/."""

_NOT_COMPARED = {"data_dir", "shape", "seed", "num_steps", "output_dir", "experiment"}
"""Flags that say where and which; how many steps were done is compared apart."""


def published_row(settings: SceneSettings, scene: str) -> PublishedRow | None:
    """The paper's numbers for a scene; None if it is not in the paper.

    D-NeRF has a lego too, which moves and is another scene.
    """
    if settings.time_model != "none" or settings.relightable:
        return None
    return _ROWS.get(settings.dataset, {}).get(scene)


def differences(config: Config, step: int) -> list[str]:
    """How a run differs from the paper's settings, one text per flag; empty for other data sets."""
    paper = PAPER_CONFIGS.get(config.scene.dataset)
    if paper is None:
        return []
    # How half of an image is made matters to halves only.
    not_compared = _NOT_COMPARED | (set() if config.scene.half_res else {"resize_straight_alpha"})
    compared = (means_something(config) & means_something(paper)) - not_compared
    found = []
    if step != paper.training.num_steps:
        found.append(f"{step} steps (paper: {paper.training.num_steps})")
    for (name, ours, changeable), (_, theirs, _) in zip(
        flag_settings(_resolved(config)), flag_settings(_resolved(paper))
    ):
        if ours != theirs and not changeable and name in compared:
            found.append(f"--{name}={flag_text(ours)} (paper: {flag_text(theirs)})")
    return found


def _resolved(config: Config) -> Config:
    """With the width that a bottleneck has which is not set."""
    network = config.network
    if network.field != "mlp":
        return config
    width = network.bottleneck_width or network.net_width
    return dataclasses.replace(config, network=dataclasses.replace(network, bottleneck_width=width))
