"""A trained scene as a coloured mesh in world coordinates."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import trimesh

from tfnerf.errors import UserError
from tfnerf.fields.field import Conditions
from tfnerf.fields.model import NeRF
from tfnerf.geometry.poses import meeting_point
from tfnerf.mesh.surface import Box, Grid, Surface, extract_surface, occupied_box
from tfnerf.progress import progress_bar
from tfnerf.scenes import Scene
from tfnerf.volume.scene_renderer import SceneRenderer

_HALF_SIZE = 0.5
"""Of the box that is searched, as a fraction of the cameras' mean distance."""
_POINTS_PER_CHUNK = 1 << 16
_MIN_SURVEY = 64
"""Voxels a side of the grid that tells where something is."""


def build_mesh(
    renderer: SceneRenderer,
    scene: Scene,
    *,
    resolution: int,
    threshold: float,
    bounds: Box | None = None,
    smallest_piece: float = 0.0,
    conditions: dict[str, np.ndarray] | None = None,
) -> trimesh.Trimesh:
    """The surface where the density of a scene is `threshold`, coloured.

    Args:
      renderer: of the scene.
      scene: that the networks were trained on.
      resolution: voxels along the longest side of what is there.
      threshold: density, per scene unit (per unit of NDC with `scene.ndc`).
      bounds: where to look, in scene units and axes; None: around what the cameras look at, or all
        of NDC up to the farthest depth.
      smallest_piece: pieces with a smaller fraction of all triangles are left out.
      conditions: a row [1, ...] of each condition that the scene has, that hold for all points.

    Returns:
      A mesh in the units and axes of the scene's files; colours are what is seen from straight
      above each vertex.

    Raises:
      UserError: nothing is so dense, or --bounds are given for NDC.
    """
    density = _chunked(_compiled(_density(renderer.model, threshold, conditions)))
    if renderer.warp is not None and bounds is not None:
        raise UserError("--bounds: the scene was trained in NDC, which has its own")
    search = bounds or _search_box(scene)
    box = occupied_box(density, search, threshold, max(_MIN_SURVEY, resolution // 2))
    if box is None:
        raise UserError(
            f"--density_threshold={threshold:g}: nothing is so dense between {search.low} and "
            f"{search.high} (scene units); lower it, or set --bounds"
        )
    grid = Grid.filling(box, resolution)
    with progress_bar("density", grid.num_points, "point") as progress:
        surface = extract_surface(density, grid, threshold, progress)
    if not len(surface.faces):
        raise UserError(f"--density_threshold={threshold:g}: found no surface")
    return _colored(renderer, scene, _without_small_pieces(surface, smallest_piece), conditions)


def to_bytes(mesh: trimesh.Trimesh, file_type: str) -> bytes:
    """A file with colours: "ply" (binary) or "glb" (binary glTF)."""
    buffer = io.BytesIO()
    mesh.export(buffer, file_type=file_type)
    return buffer.getvalue()


def _search_box(scene: Scene) -> Box:
    if scene.ndc is not None:
        _, farthest = scene.depth_bounds
        return Box(np.array([-1.0, -1, -1]), np.array([1, 1, 1 - 2 * scene.ndc.near / farthest]))
    poses = scene.train.cameras.camera_to_world.astype(np.float64)
    center, _ = meeting_point(poses)
    half_size = _HALF_SIZE * np.linalg.norm(poses[:, :, 3] - center, axis=-1).mean()
    return Box(center - half_size, center + half_size)


def _density(
    model: NeRF, threshold: float, conditions: dict[str, np.ndarray] | None
) -> Callable[[tf.Tensor], tf.Tensor]:
    """The density of points [M, 3], [M]; where a grid says that there is next to nothing it is 0.

    For a threshold that may lie below what cells that count as empty hold no grid is asked.
    """
    grid = model.grid

    def everywhere(points: tf.Tensor) -> tf.Tensor:
        return model.final(points, _of_all(points, conditions))[0]

    if grid is None or threshold <= grid.next_to_nothing:
        return everywhere

    def where_occupied(points: tf.Tensor) -> tf.Tensor:
        rows = tf.where(grid.occupied_at(points, _of_all(points, conditions)))
        found = everywhere(tf.gather_nd(points, rows))
        return tf.scatter_nd(rows, found, tf.shape(points, tf.int64)[:1])

    return where_occupied


def _of_all(points: tf.Tensor, conditions: dict[str, np.ndarray] | None) -> Conditions | None:
    """The same row of each condition for all points [M, 3]."""
    if conditions is None:
        return None
    num_points = tf.shape(points)[0]
    return {name: tf.repeat(row, num_points, axis=0) for name, row in conditions.items()}


def _colored(
    renderer: SceneRenderer,
    scene: Scene,
    surface: Surface,
    conditions: dict[str, np.ndarray] | None,
) -> trimesh.Trimesh:
    vertices, faces = surface
    if renderer.warp is not None:
        # The last voxels may reach beyond infinity.
        farthest = 1 - renderer.warp.near / scene.depth_bounds[1]
        vertices = renderer.warp.unwarp_points(np.minimum(vertices, [np.inf, np.inf, farthest]))
        faces = faces[:, ::-1]  # NDC look into a mirror: z grows with the distance
    normals = trimesh.Trimesh(vertices, faces, process=False).vertex_normals
    color = _compiled(
        lambda points, viewdirs: (
            renderer.radiance(points, viewdirs, _of_all(points, conditions)).rgb
        )
    )
    colors = _chunked(color)(surface.vertices, -normals)
    to_world = scene.scene_to_world
    return trimesh.Trimesh(
        vertices @ to_world[:3, :3].T + to_world[:3, 3],
        faces,
        vertex_colors=np.rint(255 * colors).astype(np.uint8),
        process=False,
    )


def _without_small_pieces(surface: Surface, fraction: float) -> Surface:
    """Keeps the connected pieces that have at least this fraction of all triangles.

    The largest one is always kept.
    """
    if fraction == 0:
        return surface
    mesh = trimesh.Trimesh(*surface, process=False)
    pieces = trimesh.graph.connected_component_labels(mesh.face_adjacency, len(surface.faces))
    sizes = np.bincount(pieces)
    kept = surface.faces[(sizes >= min(fraction * len(pieces), sizes.max()))[pieces]]
    used, index = np.unique(kept, return_inverse=True)
    return Surface(surface.vertices[used], index.reshape(-1, 3))


def _chunked(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """The function of arrays [N, ...], asked for a bounded number of rows at a time."""

    def whole(*arrays: np.ndarray) -> np.ndarray:
        starts = range(0, len(arrays[0]), _POINTS_PER_CHUNK)
        return np.concatenate(
            [function(*(a[start : start + _POINTS_PER_CHUNK] for a in arrays)) for start in starts]
        )

    return whole


def _compiled(function: Callable[..., tf.Tensor]) -> Callable[..., np.ndarray]:
    """The function of tensors [N, 3] as one of arrays, compiled once for any N."""
    graph = tf.function(function, reduce_retracing=True, autograph=False)

    def compiled(*arrays: np.ndarray) -> np.ndarray:
        values: np.ndarray = graph(*(tf.constant(array, tf.float32) for array in arrays)).numpy()
        return values

    return compiled
