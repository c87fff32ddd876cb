"""A trained field behind a grid of its densities, in the place of its coarse network."""

from __future__ import annotations

from tfnerf.fields.model import NeRF, make_model
from tfnerf.scenes import Scene, some_pixels
from tfnerf.scenes.extent import visible_box
from tfnerf.settings import Config, RenderSettings
from tfnerf.volume.scene_renderer import SceneRenderer
from tfnerf.volume.survey import coarse_survey, fine_survey, keep_seen

_RESOLUTION, _MOVING_RESOLUTION = 256, 96
"""The second where there are cells for each of many spans of time."""
_NUM_PROBES = 192
_NUM_SAMPLES = 12
_EVEN_SHARE = 0.6
_NUM_RAYS = 16384
"""That tell what is seen."""


def config_on_grid(config: Config, num_samples: int | None) -> Config:
    """The settings of a run as they are with a grid in the place of its coarse network."""
    before = config.rendering
    moves = config.scene.time_model != "none"
    rendering = RenderSettings(
        sampler="grid",
        num_samples=num_samples or _NUM_SAMPLES,
        num_probes=_NUM_PROBES,
        grid_resolution=_MOVING_RESOLUTION if moves else _RESOLUTION,
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
    times = on_grid.grid.telling_times(on_grid.final)
    coarse = coarse_survey(on_grid.final, visible_box(scene), times)
    rays, _ = some_pixels(scene, scene.train, _NUM_RAYS)
    box = keep_seen(coarse, renderer, rays)
    fine_survey(on_grid.final, coarse, on_grid.grid, box)
    return on_grid
