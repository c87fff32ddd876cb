"""Meshes against surfaces that are known."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
import trimesh
from known_fields import KnownField, known_model
from small import small_renderer, small_scene

from tfnerf.errors import UserError
from tfnerf.fields.density_grid import DensityGrid
from tfnerf.fields.model import NeRF
from tfnerf.geometry.cameras import NDC, Rays
from tfnerf.geometry.poses import look_along, to_4x4
from tfnerf.mesh.build import build_mesh, to_bytes
from tfnerf.mesh.surface import Box, Grid, extract_surface, occupied_box
from tfnerf.scenes import Scene
from tfnerf.scenes.solids import signed_distance
from tfnerf.volume.scene_renderer import SceneRenderer

THRESHOLD = 25.0


def box(half_size: float) -> Box:
    return Box(np.full(3, -half_size), np.full(3, half_size))


def density_of(distance: np.ndarray) -> np.ndarray:
    """A density that is THRESHOLD on the surface and rises inwards."""
    return np.maximum(THRESHOLD * (1 - 10 * distance), 0)


def solids(points: np.ndarray) -> np.ndarray:
    """The built-in scene, whose solids are no mirror images of each other."""
    return density_of(signed_distance(points))


def test_vertices_lie_on_the_known_surface_and_cover_it() -> None:
    grid = Grid.filling(box(1.3), 90)
    surface = extract_surface(solids, grid, THRESHOLD)
    distance = np.abs(signed_distance(surface.vertices))
    assert distance.max() < grid.voxel
    assert distance.mean() < 0.1 * grid.voxel
    for axes in ([1, 0, 2], [0, 2, 1]):
        assert np.abs(signed_distance(surface.vertices[:, axes])).max() > 5 * grid.voxel
    mesh = trimesh.Trimesh(*surface, process=False)
    assert mesh.is_watertight
    # All of the inside is inside, so nothing is missing and triangles face outwards.
    points = np.random.default_rng(0).uniform(-1.3, 1.3, [200_000, 3])
    inside = (signed_distance(points) < 0).mean() * 2.6**3
    assert mesh.volume == pytest.approx(inside, rel=0.02)


def test_slabs_join_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = Grid.filling(Box(np.array([-1.0, -1.2, -0.7]), np.array([1.1, 1, 1])), 50)
    whole = extract_surface(solids, grid, THRESHOLD)
    monkeypatch.setattr("tfnerf.mesh.surface._SLAB_THICKNESS", 7)
    sliced = extract_surface(solids, grid, THRESHOLD)
    assert len(whole.vertices) == len(sliced.vertices)
    np.testing.assert_allclose(whole.vertices, sliced.vertices, atol=1e-6)
    assert len(whole.faces) == len(sliced.faces)


def test_never_more_than_a_layer_is_asked_for() -> None:
    asked = []

    def density(points: np.ndarray) -> np.ndarray:
        asked.append(len(points))
        return solids(points)

    grid = Grid.filling(box(1.3), 40)
    extract_surface(density, grid, THRESHOLD)
    assert asked == [41 * 41] * 41
    assert sum(asked) == grid.num_points


def test_a_box_shrinks_to_what_is_there() -> None:
    low, high = occupied_box(solids, box(8.0), THRESHOLD, 64)
    assert (low > -2).all() and (high < 2).all()
    assert (low < [-1.09, -1.09, -0.6]).all() and (high > [1.09, 1.09, 0.54]).all()
    assert occupied_box(solids, Box(np.full(3, 3.0), np.full(3, 4.0)), THRESHOLD, 64) is None


CENTER, RADIUS = np.array([0.3, -0.2, 0.1]), 0.5


def renderer_of(distance: Callable[[tf.Tensor], tf.Tensor], scene: Scene) -> SceneRenderer:
    """Of what lies inside a signed distance, coloured by the view direction."""
    field = KnownField(
        lambda points: THRESHOLD * (1 - 10 * distance(points)),
        lambda _, viewdirs: 0.5 - 0.45 * viewdirs,
    )
    return small_renderer(scene, known_model(field))


def sphere(points: tf.Tensor) -> tf.Tensor:
    return tf.norm(points - CENTER.astype(np.float32), axis=-1) - RADIUS


def sphere_and_speck(points: tf.Tensor) -> tf.Tensor:
    speck = tf.norm(points - tf.constant([-0.9, -0.9, -0.9]), axis=-1) - 0.1
    return tf.minimum(sphere(points), speck)


@pytest.fixture
def scene() -> Scene:
    """With world axes and units of its own."""
    turn = look_along(np.array([1.0, 2.0, 0.5]), np.array([0.0, 0.0, 1.0]), np.array([3, 1, -2]))
    return dataclasses.replace(
        small_scene(), scene_to_world=to_4x4(turn) @ np.diag([0.5, 0.5, 0.5, 1])
    )


def test_a_grid_spares_what_is_empty_and_changes_nothing(scene: Scene) -> None:
    asked: list[int] = []

    def density(points: tf.Tensor) -> tf.Tensor:
        def counted(some: np.ndarray) -> np.ndarray:
            asked.append(len(some))
            return some

        points = tf.ensure_shape(tf.numpy_function(counted, [points], tf.float32), [None, 3])
        return THRESHOLD * (1 - 10 * sphere(points))

    field = KnownField(density, lambda _, viewdirs: 0.5 - 0.45 * viewdirs)
    grid = DensityGrid(32)
    grid.box.corners.assign([[-1.0] * 3, [1.0] * 3])
    grid.fill(field)
    grid.mark_occupied()
    meshes = {}
    for name, model, threshold in (
        ("exact", known_model(field), THRESHOLD),
        ("spared", NeRF(field, field, grid), THRESHOLD),
        ("low", NeRF(field, field, grid), 0.5 * grid.next_to_nothing),
    ):
        asked.clear()
        renderer = dataclasses.replace(small_renderer(scene, known_model(field)), model=model)
        mesh = build_mesh(renderer, scene, resolution=40, threshold=threshold)
        meshes[name] = (mesh, sum(asked))
    exact, spared = meshes["exact"], meshes["spared"]
    np.testing.assert_allclose(spared[0].vertices, exact[0].vertices, atol=1e-6)
    assert spared[1] < 0.4 * exact[1]
    # Cells that count as empty may hold so little.
    assert meshes["low"][1] > 0.8 * exact[1]


def in_world(scene: Scene, points: np.ndarray) -> np.ndarray:
    return points @ scene.scene_to_world[:3, :3].T + scene.scene_to_world[:3, 3]


def test_a_mesh_is_in_world_coordinates_and_coloured_along_its_normals(scene: Scene) -> None:
    mesh = build_mesh(renderer_of(sphere, scene), scene, resolution=40, threshold=THRESHOLD)
    offset = mesh.vertices - in_world(scene, CENTER[None])
    voxel = 0.5 * 2 * RADIUS / 40
    assert np.abs(np.linalg.norm(offset, axis=-1) - 0.5 * RADIUS).max() < voxel
    assert mesh.is_watertight and mesh.volume > 0
    outwards = offset / np.linalg.norm(offset, axis=-1, keepdims=True)
    outwards_in_scene = outwards @ np.linalg.inv(scene.scene_to_world[:3, :3] / 0.5).T
    colors = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    np.testing.assert_allclose(colors, 0.5 + 0.45 * outwards_in_scene, atol=0.05)


def test_a_mesh_of_ndc_is_in_world_coordinates(scene: Scene) -> None:
    """A ball before the cameras, put into NDC the way rays are."""
    center, ndc = np.float32([0.2, -0.3, -3.0]), NDC(30, 40, 35.0)
    scene = dataclasses.replace(scene, ndc=ndc, near=0.0, far=1.0, bounds=(1.2, 20.0))

    def ball(points: tf.Tensor) -> tf.Tensor:
        z = 2 / (points[:, 2] - 1)
        x = -points[:, 0] * z * 40 / 70
        y = -points[:, 1] * z * 30 / 70
        return tf.norm(tf.stack([x, y, z], -1) - center, axis=-1) - 0.5

    mesh = build_mesh(renderer_of(ball, scene), scene, resolution=80, threshold=THRESHOLD)
    offset = mesh.vertices - in_world(scene, center[None])
    assert np.abs(np.linalg.norm(offset, axis=-1) - 0.25).max() < 0.02
    assert mesh.is_watertight and mesh.volume == pytest.approx(4 / 3 * np.pi * 0.25**3, rel=0.05)


def test_ndc_points_go_back_to_where_rays_came_from(rng: np.random.Generator) -> None:
    ndc = NDC(30, 40, 35.0)
    origins = rng.normal(size=[50, 3]).astype(np.float32)
    origins[:, 2] = rng.uniform(-0.5, 0.5, 50)
    directions = np.float32([0, 0, -1]) + 0.4 * rng.normal(size=[50, 3]).astype(np.float32)
    directions[:, 2] = -1
    rays = Rays(tf.constant(origins), tf.constant(directions), tf.constant(directions))
    warped = ndc.warp(rays)
    points = (warped.origins + 0.6 * warped.directions).numpy()
    back = ndc.unwarp_points(points)
    depth = (back[:, 2] - origins[:, 2]) / directions[:, 2]
    assert (depth > 0).all()
    np.testing.assert_allclose(back, origins + depth[:, None] * directions, atol=1e-4)


def test_small_pieces_are_left_out_on_request(scene: Scene) -> None:
    arguments = {"resolution": 40, "threshold": THRESHOLD}
    both = build_mesh(renderer_of(sphere_and_speck, scene), scene, **arguments)
    one = build_mesh(renderer_of(sphere_and_speck, scene), scene, **arguments, smallest_piece=0.1)
    assert (both.body_count, one.body_count) == (2, 1)
    assert len(one.vertices) == len(np.unique(one.faces))
    largest = build_mesh(
        renderer_of(sphere_and_speck, scene), scene, **arguments, smallest_piece=1.0
    )
    assert largest.body_count == 1
    assert np.linalg.norm(one.vertices - in_world(scene, CENTER[None]), axis=-1).max() < 0.27


def sphere_with_antenna(points: tf.Tensor) -> tf.Tensor:
    x, y, z = tf.unstack(points, axis=-1)
    rod = tf.maximum(tf.sqrt((y + 0.2) ** 2 + (z - 0.1) ** 2) - 0.02, tf.abs(x) - 1.5)
    return tf.minimum(sphere(points), rod)


def test_thin_parts_are_not_cut_off(scene: Scene) -> None:
    mesh = build_mesh(
        renderer_of(sphere_with_antenna, scene), scene, resolution=256, threshold=THRESHOLD
    )
    in_scene = (mesh.vertices - scene.scene_to_world[:3, 3]) @ np.linalg.inv(
        scene.scene_to_world[:3, :3]
    ).T
    assert in_scene[:, 0].max() > 1.4 and in_scene[:, 0].min() < -1.4


def test_a_mesh_of_ndc_ends_before_infinity(scene: Scene) -> None:
    scene = dataclasses.replace(scene, ndc=NDC(30, 40, 35.0), near=0.0, far=1.0, bounds=(1.3, 100))
    everywhere = renderer_of(lambda points: 0.985 - points[:, 2], scene)
    mesh = build_mesh(everywhere, scene, resolution=40, threshold=THRESHOLD)
    assert np.isfinite(mesh.vertices).all()


def test_files_hold_the_mesh_and_its_colours(scene: Scene) -> None:
    mesh = build_mesh(renderer_of(sphere, scene), scene, resolution=20, threshold=THRESHOLD)
    for file_type in ("ply", "glb"):
        read = trimesh.load(io.BytesIO(to_bytes(mesh, file_type)), file_type, process=False)
        if isinstance(read, trimesh.Scene):
            read = read.to_geometry()
        np.testing.assert_allclose(read.vertices, mesh.vertices, atol=1e-6)
        np.testing.assert_array_equal(read.faces, mesh.faces)
        np.testing.assert_array_equal(read.visual.vertex_colors, mesh.visual.vertex_colors)


def test_a_scene_without_a_surface_is_an_error(scene: Scene) -> None:
    with pytest.raises(UserError, match="--density_threshold=1000: nothing is so dense"):
        build_mesh(renderer_of(sphere, scene), scene, resolution=20, threshold=1000.0)
    in_ndc = dataclasses.replace(scene, ndc=NDC(30, 40, 35.0))
    with pytest.raises(UserError, match="--bounds: the scene was trained in NDC"):
        build_mesh(
            renderer_of(sphere, in_ndc), in_ndc, resolution=9, threshold=1.0, bounds=box(1.0)
        )
