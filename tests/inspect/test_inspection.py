"""Does the inspection of a scene see what is wrong with it, and nothing where all is well?"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest

from tfnerf.errors import UserError
from tfnerf.formats import detect_dataset
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.paths import orbit_path
from tfnerf.inspect.findings import Inspection, inspect_scene
from tfnerf.inspect.matching import Matches, fit, with_flipped_axes, with_more_distortion
from tfnerf.inspect.picture import draw
from tfnerf.scenes import Scene, Views, load_scene
from tfnerf.settings import SceneSettings


@pytest.fixture(scope="module")
def builtin() -> Scene:
    return load_scene(SceneSettings())


@pytest.fixture
def fox(real_data: Callable[[str], Path]) -> Scene:
    """A capture with a phone."""
    data_dir = str(real_data("instant_ngp_fox"))
    return load_scene(SceneSettings(dataset="transforms", data_dir=data_dir, factor=4))


def with_cameras(scene: Scene, change: Callable[[Cameras], Cameras]) -> Scene:
    return with_views(scene, dataclasses.replace(scene.train, cameras=change(scene.train.cameras)))


def with_views(scene: Scene, views: Views) -> Scene:
    return dataclasses.replace(scene, splits={**scene.splits, "train": views})


def doubts(inspection: Inspection) -> list[str]:
    return [finding.text for finding in inspection.findings if not finding.sane]


def test_nothing_is_wrong_with_the_built_in_scene(builtin: Scene) -> None:
    inspection = inspect_scene(builtin)
    assert doubts(inspection) == []
    texts = " ".join(finding.text for finding in inspection.findings)
    assert "60 training views of 64 x 64 pixels, 45 degrees wide" in texts
    assert "the cameras are 4.00 to 4.00 from what they look at" in texts
    # The solids, seen from 4 away.
    assert np.linalg.norm(inspection.points, axis=-1).max() < 1.7


def test_pixels_that_are_not_square_are_in_doubt(builtin: Scene) -> None:
    def stretched(cameras: Cameras) -> Cameras:
        return cameras.with_focal(cameras.focal * np.float32([1.0, 1.07]))

    found = doubts(inspect_scene(with_cameras(builtin, stretched)))
    assert any("76.8 across and 82.176 down mean pixels that are not square" in t for t in found)


def test_axes_of_opencv_are_recognised(builtin: Scene) -> None:
    found = doubts(inspect_scene(with_cameras(builtin, with_flipped_axes)))
    assert any("flip these axes" in text for text in found)


def test_matrices_of_world_to_camera_are_recognised(
    real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    """In the file, before the scene is moved and scaled."""
    folder = real_data("instant_ngp_fox")
    content = json.loads((folder / "transforms.json").read_text())
    for frame in content["frames"]:
        frame["transform_matrix"] = np.linalg.inv(frame["transform_matrix"]).tolist()
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    (tmp_path / "images").symlink_to(folder / "images")
    # Such cameras seem to look past each other, and ask for near and far.
    settings = SceneSettings(
        dataset="transforms", data_dir=str(tmp_path), factor=4, near=0.1, far=100.0
    )
    found = doubts(inspect_scene(load_scene(settings)))
    assert any("if the file holds world_to_camera" in text for text in found)


def test_poses_of_other_images_are_recognised(fox: Scene, rng: np.random.Generator) -> None:
    order = rng.permutation(len(fox.train))
    found = doubts(inspect_scene(with_cameras(fox, lambda cameras: cameras[order])))
    assert any("are they those of these images, in this order?" in text for text in found)


@pytest.mark.parametrize(("near", "far"), [(4.2, 6.0), (2.0, 4.0)])
def test_a_range_that_misses_the_scene_is_seen(builtin: Scene, near: float, far: float) -> None:
    (found,) = doubts(inspect_scene(dataclasses.replace(builtin, near=near, far=far)))
    assert f"rays go from {near:.2f} to {far:.2f}, which misses" in found
    near, far = (float(part.split("=")[1]) for part in found.split("try ")[1].split())
    assert 2.5 < near < 3.4 and 4.8 < far < 6.3  # the solids, 4 away


def test_a_range_that_wastes_samples_is_named_but_no_doubt(builtin: Scene) -> None:
    inspection = inspect_scene(dataclasses.replace(builtin, near=0.5, far=20.0))
    assert doubts(inspection) == []
    assert any("for sharper results try --near=2.7" in f.text for f in inspection.findings)


def test_a_range_that_is_not_known_is_drawn_as_it_is_advised(builtin: Scene) -> None:
    """Rays that go on for ever would make a dot of the scene."""
    inspection = inspect_scene(dataclasses.replace(builtin, near=1e-3, far=1e3))
    drawn = inspection.with_range_to_try().scene
    assert 2 < drawn.near < 3.5 < 4.5 < drawn.far < 7
    assert any(
        f"--near={drawn.near:.3g} --far={drawn.far:.3g}" in f.text for f in inspection.findings
    )


def test_blurred_and_repeated_images_are_named(builtin: Scene) -> None:
    images = builtin.train.images.copy()
    images[7] = images[3]
    blurred = images[20].astype(float)
    for _ in range(8):
        blurred = (blurred + np.roll(blurred, 1, 0) + np.roll(blurred, 1, 1)) / 3
    images[20] = blurred.astype(np.uint8)
    views = dataclasses.replace(builtin.train, images=images)
    found = doubts(inspect_scene(with_views(builtin, views)))
    assert "1 images look blurred or empty: train_020" in found
    assert "1 images are there twice: train_003 = train_007" in found


def test_small_things_that_move_are_not_the_same_image(builtin: Scene) -> None:
    images = np.zeros_like(builtin.train.images)
    for index, image in enumerate(images):
        image[20:24, index : index + 4] = 128
    views = dataclasses.replace(builtin.train, images=images)
    found = doubts(inspect_scene(with_views(builtin, views)))
    assert not any("there twice" in text for text in found)


def test_a_camera_that_looks_away_is_named(builtin: Scene) -> None:
    def turn(cameras: Cameras) -> Cameras:
        poses = cameras.camera_to_world.copy()
        poses[5, :, [0, 2]] *= -1
        return dataclasses.replace(cameras, camera_to_world=poses)

    found = doubts(inspect_scene(with_cameras(builtin, turn)))
    assert any("but 1 look the other way: train_005" in text for text in found)


def test_scenes_without_texture_or_held_out_views_are_told(builtin: Scene) -> None:
    views = builtin.train
    gray = dataclasses.replace(views, images=np.full_like(views.images, 128))
    scene = dataclasses.replace(builtin, splits={"train": gray.select(range(3))})
    inspection = inspect_scene(scene)
    assert any("too few to check the poses with" in text for text in doubts(inspection))
    assert any("no views are held out" in text for text in doubts(inspection))
    draw(inspection)


def test_a_wrong_focal_length_is_seen(builtin: Scene) -> None:
    def change(cameras: Cameras) -> Cameras:
        return dataclasses.replace(cameras, focal=cameras.focal * 30)

    found = doubts(inspect_scene(with_cameras(builtin, change)))
    assert any("is the focal length right?" in text for text in found)


def exact_matches(cameras: Cameras, rng: np.random.Generator) -> tuple[Matches, np.ndarray]:
    """Points around the origin, projected into two cameras by hand."""
    points = rng.uniform(-0.5, 0.5, [100, 3])
    pixels = []
    for view in range(2):
        pose = cameras.camera_to_world[view].astype(np.float64)
        local = (points - pose[:, 3]) @ pose[:, :3]
        plane = local[:, :2] / -local[:, 2:] * [1, -1]
        column, row = (plane * cameras.focal[view] + cameras.center[view] - 0.5).T
        pixels.append(np.stack([row, column], -1))
    views = np.tile([0, 1], [100, 1])
    return Matches(views, np.stack(pixels, 1), cameras), points


def test_rays_through_the_same_point_meet_there(rng: np.random.Generator) -> None:
    cameras = Cameras.pinhole(orbit_path(12)[:2], 80, 100, 90.0)
    matches, points = exact_matches(cameras, rng)
    found = fit(matches, cameras)
    assert found.gap.max() < 1e-3 and found.share == 1
    np.testing.assert_allclose(found.points, points, atol=1e-4)
    ahead = -cameras.camera_to_world[:, :, 2]
    for view in range(2):
        depth = (points - cameras.camera_to_world[view, :, 3]) @ ahead[view]
        np.testing.assert_allclose(found.depths[:, view], depth, atol=1e-4)
    # A point moved by three pixels, half of them for each view.
    moved = matches._replace(pixels=matches.pixels + np.array([[[1.5, 0], [-1.5, 0]]]))
    assert 0.5 < np.median(fit(moved, cameras).gap) < 3.5
    assert fit(matches, with_flipped_axes(cameras)).share == 0


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("instant_ngp_fox", {"factor": 4}),
        ("nerf_llff_data/fern", {"factor": 8}),
        ("tiny_nerf", {}),
    ],
)
def test_nothing_is_wrong_with_real_scenes(
    name: str, settings: dict, real_data: Callable[[str], Path]
) -> None:
    folder = real_data(name)
    dataset = detect_dataset(folder)
    scene = load_scene(SceneSettings(dataset=dataset, data_dir=str(folder), **settings))
    inspection = inspect_scene(scene)
    assert doubts(inspection) == []
    picture = imageio.imread(io.BytesIO(draw(inspection)))
    assert picture.shape[0] > 500 and picture.std() > 10


def test_distortion_left_in_is_seen(fox: Scene) -> None:
    bent = with_cameras(fox, lambda cameras: with_more_distortion(cameras, -0.2))
    (found,) = doubts(inspect_scene(bent))
    assert "distortion is left in the images" in found
    k1 = float(found.split("k1 near ")[1].split()[0])
    assert k1 == pytest.approx(0.058, abs=0.06)


def test_a_folder_without_a_scene_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"found none of transforms_train\.json"):
        detect_dataset(tmp_path)
