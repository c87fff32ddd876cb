"""A run folder as the commands after training see it: settings, scene and trained networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tfnerf.errors import UserError
from tfnerf.fields.model import NeRF, make_model
from tfnerf.files import with_home
from tfnerf.flags import read_flagfile
from tfnerf.runs.appearance import with_codes
from tfnerf.runs.checkpoints import Checkpoints, Variables
from tfnerf.runs.folder import RunFolder
from tfnerf.runs.on_grid import config_on_grid, model_on_grid
from tfnerf.runs.scene_record import (
    check_same,
    read_record,
    warn_of_new_rules,
    with_axes_of_run,
)
from tfnerf.scenes import Scene, load_scene
from tfnerf.settings import Config, SamplerKind
from tfnerf.volume.devices import all_devices
from tfnerf.volume.image_renderer import ImageRenderer
from tfnerf.volume.scene_renderer import SceneRenderer


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run that has a checkpoint."""

    folder: RunFolder
    config: Config
    model: NeRF
    """The networks with the weights of the newest checkpoint that can be read."""
    step: int
    """How many steps they were trained for."""
    as_trained: TrainedRun | None = None
    """The same without the grid that it was given after training; None: it was given none."""
    suffix: str = ""
    """Of folders of pictures, so that those not made as in training replace none that are."""

    @classmethod
    def load(
        cls,
        run_dir: str,
        *,
        data_dir: str | None = None,
        rays_per_chunk: int | None = None,
        sampler: SamplerKind | None = None,
        num_samples: int | None = None,
    ) -> TrainedRun:
        """Reads a run folder.

        Args:
          run_dir: the folder.
          data_dir: where the scene is now; None: where it was.
          rays_per_chunk: rays rendered at a time; None: what the flags of the run say.
          sampler: where to look along rays; None: as in training. A run that was trained without
            a grid is given one of its densities, which takes a while and makes pictures fast.
          num_samples: per ray, with a grid; None: as in training, or as many as are needed.

        Raises:
          UserError: no run folder, no checkpoint that can be read, one of other networks, or a
            sampler that these do without.
        """
        folder = RunFolder(_require_run(with_home(run_dir)))
        config = read_flagfile(folder.flags)
        if data_dir is not None:
            config = config.replaced(data_dir=data_dir)
        if rays_per_chunk is not None:
            config = config.replaced(picture_rays_per_chunk=rays_per_chunk)
        model = None
        num_images = 0
        if config.network.appearance_width:
            num_images = len(read_record(folder.scene).train)

        def variables_at(step: int) -> Variables:
            nonlocal model
            with all_devices().scope():
                model = make_model(config, step=step, num_images=num_images)
            return {"model": model.variables}

        step = Checkpoints(folder.checkpoints).restore_newest(variables_at, everything=False)
        if step is None or model is None:
            raise UserError(f"{folder.checkpoints}: found no checkpoint, expected a trained run")
        return cls(folder, config, model, step)._sampled_by(sampler, num_samples)

    def _sampled_by(self, sampler: SamplerKind | None, num_samples: int | None) -> TrainedRun:
        own = self.config.rendering.sampler
        if (sampler or own) == "hierarchical" and num_samples is not None:
            raise UserError(f"--num_samples={num_samples}: needs --sampler=grid")
        if sampler in (None, own):
            if num_samples in (None, self.config.rendering.num_samples):
                return self
            config = self.config.replaced(num_samples=num_samples)
            return dataclasses.replace(self, config=config, suffix=f"_{num_samples}_samples")
        if sampler != "grid":
            raise UserError(
                f"--sampler={sampler}: {self.folder.path} was trained with --sampler={own}, and "
                "has no coarse network"
            )
        config = config_on_grid(self.config, num_samples)
        scene = self.scene_without_images()
        model = model_on_grid(self.renderer(scene), scene, config, self.step)
        suffix = "_grid" if num_samples is None else f"_grid_{num_samples}_samples"
        return dataclasses.replace(self, config=config, model=model, as_trained=self, suffix=suffix)

    def scene(self, splits: Sequence[str] = ("train", "test")) -> Scene:
        """The scene that it was trained on; UserError if that is gone or changed."""
        scene = with_axes_of_run(load_scene(self.config.scene, splits), self.folder)
        if self.folder.scene.is_file():
            check_same(scene, self.folder.scene, self.config.scene.data_dir)
        else:
            warn_of_new_rules(self.config.scene, self.folder)
        return with_codes(scene, self.model)

    def scene_without_images(self) -> Scene:
        """The same without the photographs, which need not be there any more.

        Runs of versions that kept no record of it need them.
        """
        if self.folder.scene.is_file():
            return with_codes(read_record(self.folder.scene), self.model)
        return self.scene()

    def eval_folder(self, split: str) -> Path:
        """Where the views of a split are evaluated."""
        return self.folder.eval / (split + self.suffix)

    def renderer(self, scene: Scene) -> SceneRenderer:
        """Renders rays and points of the scene."""
        return SceneRenderer.of(scene, self.model, self.config.rendering)

    def image_renderer(self, scene: Scene) -> ImageRenderer:
        """Renders whole images, on all devices of this machine."""
        return ImageRenderer(self.renderer(scene), self.config.rendering, all_devices())


def _require_run(path: Path) -> Path:
    flags = RunFolder(path).flags
    if not path.is_dir():
        raise UserError(f"--run_dir={path}: no such folder")
    if not flags.is_file():
        raise UserError(f"--run_dir={path}: found no {flags.name}, expected the folder of a run")
    return path
