"""A run folder as the commands after training see it: settings, scene and trained networks."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from tfnerf.runs.checkpoints import list_checkpoints, read_newest
from tfnerf.flags import read_flagfile
from tfnerf.errors import UserError
from tfnerf.fields.mlp import NeRF
from tfnerf.volume.renderer import ImageRenderer
from tfnerf.runs.folder import RunFolder
from tfnerf.scenes import Scene, load_scene
from tfnerf.settings import Config, RenderSettings


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """A run that has a checkpoint."""

    folder: RunFolder
    config: Config
    model: NeRF
    """The networks with the weights of the newest checkpoint that can be read."""
    step: int
    """How many steps they were trained for."""

    @classmethod
    def load(
        cls, run_dir: str, *, data_dir: str | None = None, rays_per_chunk: int | None = None
    ) -> TrainedRun:
        """Reads a run folder.

        Args:
          run_dir: the folder.
          data_dir: where the scene is now; None: where it was.
          rays_per_chunk: rays rendered at a time; None: what the run was trained with.

        Raises:
          UserError: no run folder, no checkpoint that can be read, or one of other networks.
        """
        folder = RunFolder(_require_run(Path(run_dir)))
        config = read_flagfile(folder.flags)
        if data_dir is not None:
            scene = dataclasses.replace(config.scene, data_dir=data_dir)
            config = dataclasses.replace(config, scene=scene)
        if rays_per_chunk is not None:
            rendering = dataclasses.replace(config.rendering, rays_per_chunk=rays_per_chunk)
            config = dataclasses.replace(config, rendering=rendering)
        with_fine = config.rendering.num_fine_samples > 0
        model = NeRF.from_settings(config.network, with_fine=with_fine)
        if not list_checkpoints(folder.checkpoints):
            raise UserError(f"{folder.checkpoints}: found no checkpoint, expected a trained run")
        step = read_newest(folder.checkpoints, {"model": model.variables})
        return cls(folder, config, model, step)

    def scene(self, splits: Sequence[str] = ("train", "test")) -> Scene:
        """The scene that it was trained on; UserError if that is gone or changed."""
        return load_scene(self.config.scene, splits)

    def renderer(self, scene: Scene) -> ImageRenderer:
        """Renders whole images."""
        return make_renderer(self.model, scene, self.config.rendering)

    def fingerprint(self, scene: Scene) -> str:
        """Of all that pictures depend on beside the cameras: weights, sampling, near and far.

        Pictures with the same fingerprint need not be rendered again.
        """
        digest = hashlib.sha256()
        for variable in self.model.variables:
            digest.update(variable.numpy().tobytes())
        # How many rays at a time changes memory and speed only.
        rendering = dataclasses.replace(self.config.rendering, rays_per_chunk=1)
        around = (scene.near, scene.far, scene.ndc, scene.white_background, scene.pixel_centers)
        digest.update(repr((self.config.network, rendering, around)).encode())
        return digest.hexdigest()


def make_renderer(model: NeRF, scene: Scene, settings: RenderSettings) -> ImageRenderer:
    """A renderer of whole images of a scene."""
    return ImageRenderer(
        model,
        scene.near,
        scene.far,
        scene.ndc,
        settings,
        pixel_centers=scene.pixel_centers,
        white_background=scene.white_background,
    )


def _require_run(path: Path) -> Path:
    flags = RunFolder(path).flags
    if not path.is_dir():
        raise UserError(f"--run_dir={path}: no such folder")
    if not flags.is_file():
        raise UserError(f"--run_dir={path}: found no {flags.name}, expected the folder of a run")
    return path
