"""A trained field behind a grid of its densities, in the place of its coarse network."""

from __future__ import annotations

import numpy as np

from tfnerf.fields.model import NeRF, make_model
from tfnerf.scenes import Scene, some_pixels
from tfnerf.scenes.extent import visible_box
from tfnerf.settings import Config, RenderSettings
from tfnerf.volume.scene_renderer import SceneRenderer
from tfnerf.volume.survey import ALWAYS, coarse_survey, fine_survey, keep_seen

_RESOLUTION, _MOVING_RESOLUTION = 256, 128
_NUM_PROBES = 192
_NUM_SAMPLES = 12
_EVEN_SHARE = 0.6
_NUM_RAYS = 16384
"""That tell what is seen."""
_NUM_TIMES = 17
"""At which a scene that moves is looked at: its grid is one for all times."""


def config_on_grid(config: Config, num_samples: int | None) -> Config:
    """The settings of a run as they are with a grid in the place of its coarse network."""
    before = config.rendering
    moves = config.scene.time_model != "none"
    rendering = RenderSettings(
        sampler="grid",
        num_samples=num_samples or _NUM_SAMPLES,
        num_probes=_NUM_PROBES,
        grid_resolution=_MOVING_RESOLUTION if moves else _RESOLUTION,
        grid_times=1 if moves else RenderSettings.grid_times,
        even_share=_EVEN_SHARE,
        lindisp=before.lindisp,
        rays_per_chunk=before.rays_per_chunk,
        picture_rays_per_chunk=before.picture_rays_per_chunk,
        jit_compile="off" if before.jit_compile == "on" else before.jit_compile,
    )
    return Config(config.scene, config.network, rendering, config.training, config.run)


def model_on_grid(renderer: SceneRenderer, scene: Scene, config: Config, step: int) -> NeRF:
    """The final network of a model and a grid of its densities.

    Args:
      renderer: of a model that was trained without a grid.
      scene: that it was trained on.
      config: as `config_on_grid` makes it.
      step: that the model was trained for.
    """
    on_grid = make_model(config, step=step, num_images=len(scene.train))
    assert on_grid.grid is not None
    on_grid.final.set_weights(renderer.model.final.get_weights())
    if on_grid.codes is not None and renderer.model.codes is not None:
        on_grid.codes.rows.assign(renderer.model.codes.rows.value)
    times = ALWAYS
    if config.scene.time_model != "none":
        times = tuple(np.linspace(0, 1, _NUM_TIMES).tolist())
    coarse = coarse_survey(on_grid.final, visible_box(scene), times)
    rays, _ = some_pixels(scene, scene.train, _NUM_RAYS)
    keep_seen(coarse, renderer, rays)
    grid = fine_survey(on_grid.final, coarse, config.rendering.grid_resolution, times)
    shapes = [weight.shape for weight in on_grid.grid.weights]
    on_grid.grid.set_weights(
        [weight.reshape(shape) for weight, shape in zip(grid.get_weights(), shapes)]
    )
    return on_grid
