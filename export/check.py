"""Checking an exported version before anyone sees it: loaded as servers load it, and compared."""

from __future__ import annotations

import io
import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np

from export.served_scene import DEPTH_LEVELS
from export.signatures import scene_signatures
from serving.server.servable import Servable
from tfnerf.errors import UserError, first_line
from tfnerf.geometry.cameras import Cameras, Rays
from tfnerf.geometry.poses import transformed
from tfnerf.images import opaque_depth
from tfnerf.scenes import Scene
from tfnerf.volume.scene_renderer import SceneRenderer

_TOLERANCE = 1e-4
"""Against the largest value. Both compute the same; rounding is all that may differ."""
_PICTURE_TOLERANCE = 0.6 / 255
"""A picture has 8 bits, and rounding them is half a level."""
_MARGIN = 3.0
"""How many times what rounding of coordinates changes in this process comes on top of that."""
_UNSTABLE = 0.02
"""Fraction of rays that may differ by any amount: resampling is not continuous, so where a sample
is at the edge of a bin rounding moves it."""
_MAX_SPACING = 1e-3
"""Of the numbers that world coordinates are rounded to, scene units; the shortest wave of the
paper's positional encoding is twelve times that."""
_PICTURE_SIZE = 8


def check_version(path: Path, renderer: SceneRenderer, scene: Scene, rays: Rays) -> None:
    """Compares all signatures with the same computation in this process.

    Args:
      path: the version.
      renderer: with the weights and the sampling that were exported.
      scene: that they were trained on.
      rays: some, in scene coordinates.

    Raises:
      UserError: it cannot be loaded, or answers something else.
    """
    try:
        servable = Servable(path)
        try:
            _check_rays(servable, renderer, scene, rays)
            _check_points(servable, renderer, scene, rays)
            _check_view(servable, renderer, scene)
            answer = servable.run("describe_scene", {"index": np.zeros(1, np.int32)})
            json.loads(answer["scene"][0])
        finally:
            servable.close()
    except UserError:
        raise
    except Exception as error:  # TensorFlow fails in many ways
        raise UserError(f"{path}: the export cannot be run: {first_line(error)}") from None


def to_world(scene: Scene, rays: Rays) -> tuple[np.ndarray, np.ndarray]:
    """Origins and directions [N, 3] as a client would send them."""
    matrix = scene.scene_to_world
    rotation = matrix[:3, :3] / scene.world_scale
    origins = rays.origins.numpy().astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    directions = rays.directions.numpy().astype(np.float64) @ rotation.T
    return origins.astype(np.float32), directions.astype(np.float32)


def render_in_process(renderer: SceneRenderer, scene: Scene, rays: Rays) -> dict[str, np.ndarray]:
    """The same rays without an export.

    Returns:
      rgb [N, 3], depth, disparity and opacity [N], in world units (in NDC for scenes in NDC), and
      world_depth [N].
    """
    final = renderer.render(rays).final
    return {
        "rgb": final.rgb.numpy(),
        "depth": final.depth.numpy() * scene.depth_scale,
        "disparity": final.disparity.numpy() / scene.depth_scale,
        "opacity": final.opacity.numpy(),
        "world_depth": renderer.scene_depth(rays, final).numpy() * scene.world_scale,
    }


def _check_rays(servable: Servable, renderer: SceneRenderer, scene: Scene, rays: Rays) -> None:
    origins, directions = to_world(scene, rays)
    signature = scene_signatures(scene.conditions)["serving_default"]
    inputs = {"origins": origins, "directions": directions, **(rays.conditions or {})}
    answer = servable.run(signature.name, signature.requests(inputs))
    expected = render_in_process(renderer, scene, rays)
    moved = render_in_process(renderer, scene, _moved(servable.path, scene, rays, origins))
    # Where a ray meets next to nothing, disparity is one rounding error divided by another.
    for values in (answer, expected, moved):
        values["disparity"] = values["disparity"] * values["opacity"]
    _compare(servable.path, "serving_default", answer, expected, moved)


def _check_points(servable: Servable, renderer: SceneRenderer, scene: Scene, rays: Rays) -> None:
    middle = rays.origins + rays.directions * (1.5 if scene.ndc else (scene.near + scene.far) / 2)
    there = rays._replace(origins=middle)
    points, viewdirs = to_world(scene, there)
    signature = scene_signatures(scene.conditions)["query_points"]
    inputs = {"points": points, "viewdirs": viewdirs, **(rays.conditions or {})}
    answer = servable.run(signature.name, signature.requests(inputs))
    expected = _query_in_process(renderer, scene, there)
    moved = _query_in_process(renderer, scene, _moved(servable.path, scene, there, points))
    _compare(servable.path, "query_points", answer, expected, moved)


def _query_in_process(renderer: SceneRenderer, scene: Scene, there: Rays) -> dict[str, np.ndarray]:
    """What is at the origins, seen along the directions."""
    rgb, density = renderer.query(there.origins, there.viewdirs, there.conditions)
    return {"rgb": rgb.numpy(), "density": density.numpy() / scene.depth_scale}


def _moved(path: Path, scene: Scene, rays: Rays, world_origins: np.ndarray) -> Rays:
    """Rays in scene coordinates, as far off as rounding in the world may bring them.

    Raises:
      UserError: that is so far that no client could ask for the scene.
    """
    largest = np.abs(world_origins).max()
    spacing = np.spacing(largest) / scene.world_scale
    if spacing > _MAX_SPACING:
        raise UserError(
            f"{path}: found world coordinates of up to {largest:.2g}, which 32 bits tell apart by "
            f"{spacing:.2g} scene units, expected at most {_MAX_SPACING:g}: not exported"
        )
    return rays._replace(origins=rays.origins + spacing)


def _check_view(servable: Servable, renderer: SceneRenderer, scene: Scene) -> None:
    """A small picture, against its rays sent one by one."""
    cameras = scene.train.cameras.resized(_PICTURE_SIZE / scene.train.cameras.width)
    focal = float(cameras.focal.mean())
    pose = transformed(scene.scene_to_world, cameras.camera_to_world[:1].astype(np.float64))
    pose = pose.astype(np.float32)
    signatures = scene_signatures(scene.conditions)
    conditions = cameras[:1].conditions
    one_picture = {
        "camera_to_world": pose,
        "focal": [focal],
        "height": [_PICTURE_SIZE],
        "width": [_PICTURE_SIZE],
        **(conditions or {}),
    }
    picture = servable.run("render_view", signatures["render_view"].requests(one_picture))
    camera = Cameras.pinhole(pose, _PICTURE_SIZE, _PICTURE_SIZE, focal, conditions)
    rays = camera.image_rays(0, pixel_centers=renderer.pixel_centers)
    inputs = {"origins": rays.origins, "directions": rays.directions, **(rays.conditions or {})}
    answer = servable.run("serving_default", signatures["serving_default"].requests(inputs))
    depth = opaque_depth(answer["depth"] / scene.depth_scale, answer["opacity"], scene.far)
    expected = {
        "image": np.clip(answer["rgb"], 0, 1),
        "depth": np.clip((depth - scene.near) / (scene.far - scene.near), 0, 1),
    }
    found = {
        "image": imageio.imread(io.BytesIO(picture["image"][0])).reshape(-1, 3) / 255,
        "depth": imageio.imread(io.BytesIO(picture["depth"][0])).reshape(-1) / DEPTH_LEVELS,
    }
    # The very same rays on both sides, so nothing is moved.
    _compare(servable.path, "render_view", found, expected, expected, _PICTURE_TOLERANCE)


def _compare(
    path: Path,
    signature: str,
    found: dict[str, np.ndarray],
    expected: dict[str, np.ndarray],
    moved: dict[str, np.ndarray],
    tolerance: float = _TOLERANCE,
) -> None:
    """Compares outputs by their names, and raises UserError where they differ.

    Args:
      path: the version.
      signature: what was run.
      found: the version's.
      expected: of this process.
      moved: the same, of rays moved by as much as rounding may.
      tolerance: against the largest value.
    """
    for name, values in expected.items():
        what = f"{path}: {signature}: {name}"
        if not np.isfinite(values).all():
            raise UserError(f"{what}: the networks give NaN or infinity: not exported")
        errors = _errors(found[name], values)
        allowed = tolerance + _MARGIN * _stable(_errors(moved[name], values))
        # NaN is no agreement either.
        if not _stable(errors) <= allowed:
            raise UserError(
                f"{what} differs from the same computation in this process by up to "
                f"{errors.max():.2g}: not exported"
            )


def _errors(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """The largest difference of each row [N], against the largest value of all."""
    errors = np.abs(found - expected).reshape(len(expected), -1).max(-1)
    return errors / max(1.0, np.abs(expected).max(initial=0))


def _stable(errors: np.ndarray) -> float:
    """The largest of errors [N] but for those that resampling makes unstable."""
    return float(np.quantile(errors, 1 - _UNSTABLE))
