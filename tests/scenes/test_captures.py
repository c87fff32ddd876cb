"""Captures: COLMAP projects, masks, splits by name, near and far that the file says."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pycolmap
import pytest
from absl import flags
from commands import ROOT

from tfnerf.errors import UserError
from tfnerf.flags import config_from_flags, define_flags, scene_from_flags
from tfnerf.formats import detect_dataset
from tfnerf.geometry.axes import scene_axes
from tfnerf.geometry.paths import orbit_pose
from tfnerf.geometry.poses import to_4x4
from tfnerf.poses.__main__ import suitable_flags
from tfnerf.scenes import Scene, load_scene
from tfnerf.settings import SceneSettings
from tfnerf.train.batches import TrainingBatches
from tfnerf.volume.samplers import make_sampler

SIZE = 24, 32
LENSES = {
    "SIMPLE_PINHOLE": [40.0, 16, 12],
    "PINHOLE": [40.0, 42.0, 16.5, 11.5],
    "SIMPLE_RADIAL": [40.0, 16, 12, 0.05],
    "RADIAL": [40.0, 16, 12, 0.05, -0.01],
    "OPENCV": [40.0, 42.0, 16.5, 11.5, 0.05, -0.01, 1e-3, -2e-3],
    "FULL_OPENCV": [40.0, 42, 16.5, 11.5, 0.05, -0.01, 1e-3, -2e-3, 0.01, 0.02, 0.01, 0.01],
    "OPENCV_FISHEYE": [15.0, 16, 16.5, 11.5, 0.03, -0.01, 0.002, -0.001],
    "SIMPLE_RADIAL_FISHEYE": [15.0, 16, 12, 0.02],
    "RADIAL_FISHEYE": [15.0, 16, 12, 0.02, -0.01],
}


def load(folder: Path, **settings: Any) -> Scene:
    return load_scene(SceneSettings(data_dir=str(folder), **settings))


def project(folder: Path, lens: str, suffix: str) -> pycolmap.Reconstruction:
    """A project of COLMAP's with ten images, written by COLMAP."""
    pycolmap.set_random_seed(0)
    options = pycolmap.SyntheticDatasetOptions(
        num_rigs=1,
        num_frames_per_rig=10,
        num_points3D=400,  # enough to tell axes by
        camera_width=SIZE[1],
        camera_height=SIZE[0],
        camera_model_id=pycolmap.CameraModelId.__members__[lens],
        camera_params=LENSES[lens],
    )
    model = pycolmap.synthesize_dataset(options)
    target = folder / "sparse" / "0"
    target.mkdir(parents=True)
    (model.write_binary if suffix == "bin" else model.write_text)(str(target))
    for image in model.images.values():
        path = folder / "images" / image.name
        path.parent.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(path, np.full([*SIZE, 3], image.image_id, np.uint8))
    return model


@pytest.mark.parametrize("suffix", ["bin", "txt"])
@pytest.mark.parametrize("lens", LENSES)
def test_rays_of_a_colmap_project_are_colmaps(tmp_path: Path, lens: str, suffix: str) -> None:
    model = project(tmp_path, lens, suffix)
    assert detect_dataset(tmp_path) == "colmap"
    scene = load(tmp_path, dataset="colmap", holdout_every=0)
    assert len(scene.train) == 10
    by_name = {image.name.rpartition(".")[0]: image for image in model.images.values()}
    row, column = np.array([0, 3, 23]), np.array([0, 17, 31])
    for view, name in enumerate(scene.train.names):
        image = next(image for key, image in by_name.items() if key.endswith(name))
        assert scene.train.images[view, 0, 0, 0] == image.image_id
        rays = scene.train.cameras.rays(np.full(3, view), row, column, pixel_centers=True)
        to_world = scene.scene_to_world
        origins = rays.origins.numpy() @ to_world[:3, :3].T + to_world[:3, 3]
        directions = rays.viewdirs.numpy() @ to_world[:3, :3].T
        directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
        pixels = np.stack([column, row], -1) + 0.5
        seen = model.cameras[image.camera_id].cam_ray_from_img(pixels)
        world_from_cam = image.cam_from_world().inverse()
        expected = seen @ world_from_cam.rotation.matrix().T
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        np.testing.assert_allclose(directions, expected, atol=2e-5)
        np.testing.assert_allclose(origins, np.tile(world_from_cam.translation, [3, 1]), atol=1e-4)


def test_near_and_far_of_a_colmap_project_enclose_its_points(tmp_path: Path) -> None:
    model = project(tmp_path, "OPENCV", "bin")
    scene = load(tmp_path, dataset="colmap")
    depths = []
    for image in model.images.values():
        points = np.array(
            [model.points3D[p.point3D_id].xyz for p in image.points2D if p.has_point3D()]
        )
        matrix = image.cam_from_world().matrix()
        depths += (points @ matrix[:, :3].T + matrix[:, 3])[:, 2].tolist()
    scale = scene.world_scale
    assert scene.near * scale < np.percentile(depths, 1) < np.percentile(depths, 99)
    assert scene.far * scale > np.percentile(depths, 99)
    assert scene.near * scale > 0.5 * np.min(depths)
    assert scene.far * scale < 2 * np.max(depths)


def test_a_colmap_project_is_turned_to_its_axes(tmp_path: Path) -> None:
    model = project(tmp_path, "PINHOLE", "bin")
    scene = load(tmp_path, dataset="colmap", holdout_every=0)
    images = sorted(model.images.values(), key=lambda image: image.name)
    poses = [image.cam_from_world().inverse().matrix() * [1, -1, -1, 1] for image in images]
    points = [point.xyz for point in model.points3D.values()]
    to_axes = scene_axes(np.array(poses), np.array(points))[:3, :3]
    turn = scene.scene_to_world[:3, :3].T / scene.world_scale
    np.testing.assert_allclose(turn, to_axes, atol=1e-6)
    assert np.abs(turn - np.eye(3)).max() > 0.1


def test_shrunken_images_of_a_project_are_taken(tmp_path: Path) -> None:
    project(tmp_path, "OPENCV", "bin")
    full = load(tmp_path, dataset="colmap", factor=2).train
    for path in (tmp_path / "images").rglob("*.png"):
        shrunken = tmp_path / "images_2" / path.relative_to(tmp_path / "images")
        shrunken.parent.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(shrunken, np.full([SIZE[0] // 2, SIZE[1] // 2, 3], 99, np.uint8))
    taken = load(tmp_path, dataset="colmap", factor=2).train
    assert (taken.images == 99).all()
    np.testing.assert_array_equal(taken.cameras.focal, full.cameras.focal)


def test_shrunken_images_of_other_names_are_not_those_of_a_project(tmp_path: Path) -> None:
    """LLFF's have names of their own."""
    project(tmp_path, "OPENCV", "bin")
    full = load(tmp_path, dataset="colmap", factor=2).train
    (tmp_path / "images_2").mkdir()
    imageio.imwrite(tmp_path / "images_2" / "image000.png", np.zeros([2, 2, 3], np.uint8))
    taken = load(tmp_path, dataset="colmap", factor=2).train
    np.testing.assert_array_equal(taken.images, full.images)


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_damaged_projects_are_refused(tmp_path: Path, name: str) -> None:
    project(tmp_path, "OPENCV", "bin")
    path = tmp_path / "sparse" / "0" / f"{name}.bin"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(UserError, match=rf"{name}\.bin: damaged"):
        load(tmp_path, dataset="colmap")
    path.write_bytes(b"\xff" * 8 + good[8:])  # billions of records
    with pytest.raises(UserError, match=rf"{name}\.bin: damaged"):
        load(tmp_path, dataset="colmap")
    path.unlink()
    if name == "cameras":
        with pytest.raises(UserError, match=r"found no cameras.bin or cameras.txt"):
            load(tmp_path, dataset="colmap")
    else:
        with pytest.raises(UserError, match=rf"{name}\.bin: no such file"):
            load(tmp_path, dataset="colmap")


def test_lenses_of_other_models_are_refused_by_name(tmp_path: Path) -> None:
    folder = tmp_path / "sparse" / "0"
    project(tmp_path, "PINHOLE", "txt")
    path = folder / "cameras.txt"
    path.write_text(path.read_text().replace("PINHOLE", "FOV"))
    with pytest.raises(UserError, match=r"cameras.txt: .*a lens of model FOV, expected"):
        load(tmp_path, dataset="colmap")


# Keys of transforms files.


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Nine views from all around, 32 x 24 pixels."""
    (tmp_path / "images").mkdir()
    frames = []
    for index in range(9):
        pose = to_4x4(orbit_pose(0.7 * index, 0.4, 3.0))
        frames.append({"file_path": f"images/{index}.png", "transform_matrix": pose.tolist()})
        imageio.imwrite(tmp_path / "images" / f"{index}.png", np.full([*SIZE, 3], index, np.uint8))
    content = {"fl_x": 40.0, "w": SIZE[1], "h": SIZE[0], "frames": frames}
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    return tmp_path


def change(folder: Path, frames: dict[int, dict[str, Any]] | None = None, **changes: Any) -> None:
    path = folder / "transforms.json"
    content = {**json.loads(path.read_text()), **changes}
    for index, keys in (frames or {}).items():
        content["frames"][index].update(keys)
    path.write_text(json.dumps(content))


def test_the_file_may_say_which_views_are_held_out(capture: Path) -> None:
    change(
        capture,
        train_filenames=[f"images/{i}.png" for i in (0, 1, 2, 3)],
        val_filenames=["./images/4.png"],
        test_filenames=["images\\5.png", "images/6.png"],
    )
    settings = SceneSettings(dataset="transforms", data_dir=str(capture))
    splits = load_scene(settings, ("train", "val", "test")).splits
    assert splits["train"].names == ("0", "1", "2", "3")
    assert splits["val"].names == ("4",)
    assert splits["test"].names == ("5", "6")
    np.testing.assert_array_equal(splits["test"].indices, [5, 6])


def test_what_the_file_does_not_hold_out_is_trained_on(capture: Path) -> None:
    change(capture, test_filenames=["images/5.png", "images/6.png"])
    scene = load(capture, dataset="transforms")
    assert scene.train.names == tuple("0123478")
    assert scene.held_out is not None and scene.held_out.names == ("5", "6")


def test_a_split_of_unknown_views_is_refused(capture: Path) -> None:
    change(capture, test_filenames=["images/nine.png"])
    with pytest.raises(UserError, match=r"test_filenames has 'images/nine.png', which is no frame"):
        load(capture, dataset="transforms")
    change(capture, test_filenames="images/1.png")
    with pytest.raises(UserError, match="expected a list of texts"):
        load(capture, dataset="transforms")


def write_mask(path: Path, black: tuple[slice, slice], level: int = 255) -> np.ndarray:
    mask = np.full(SIZE, level, np.uint8)
    mask[black] = 255 - level
    path.parent.mkdir(exist_ok=True)
    imageio.imwrite(path, mask)
    return mask == 255


def test_masked_pixels_are_not_trained_on(capture: Path) -> None:
    """Neither those black in mask_path nor those white in dynamic_mask_; others once each."""
    counts = write_mask(capture / "masks" / "1.png", (slice(0, 10), slice(0, 32)))
    moving = write_mask(capture / "images" / "dynamic_mask_2.png", (slice(5, 9), slice(5, 30)), 0)
    change(capture, {1: {"mask_path": "masks/1.png"}})
    scene = load(capture, dataset="transforms", holdout_every=0)
    assert scene.train.masks is not None
    np.testing.assert_array_equal(scene.train.masks[1], counts)
    np.testing.assert_array_equal(scene.train.masks[2], ~moving)
    assert scene.train.masks[[0, *range(3, 9)]].all()
    from small import small_config, small_model

    config = small_config(batch_size=64)
    sampler = make_sampler(small_model(), scene.near, scene.far, config.rendering)
    batches = TrainingBatches(scene, sampler, config)
    num_counting = int(scene.train.masks.sum())
    colors = np.concatenate(
        [batches(np.int64(step), np.int64(0), 64).colors for step in range(num_counting // 64)]
    )
    drawn = np.bincount(np.rint(255 * colors[:, 0]).astype(int), minlength=9)
    np.testing.assert_allclose(drawn, scene.train.masks.sum((1, 2)), atol=64)
    assert drawn[1] <= counts.sum()


def test_masks_shrink_with_their_images(capture: Path) -> None:
    write_mask(capture / "masks" / "1.png", (slice(0, 9), slice(0, 32)))
    change(capture, {1: {"mask_path": "masks/1.png"}})
    masks = load(capture, dataset="transforms", holdout_every=0, factor=2).train.masks
    assert masks is not None
    np.testing.assert_array_equal(masks[1].all(1), [False] * 5 + [True] * 7)


def test_masks_that_cannot_be_meant_are_refused(capture: Path) -> None:
    change(capture, {1: {"mask_path": "masks/1.png"}})
    with pytest.raises(UserError, match=r"masks/1.png: no such mask, and images/1.png names it"):
        load(capture, dataset="transforms")
    write_mask(capture / "masks" / "1.png", (slice(0, 24), slice(0, 32)))
    with pytest.raises(UserError, match=r"images/1.png: its mask leaves no pixel"):
        load(capture, dataset="transforms")
    imageio.imwrite(capture / "masks" / "1.png", np.zeros([7, 9], np.uint8))
    with pytest.raises(UserError, match=r"1.png: found 9 x 7 pixels, expected as many"):
        load(capture, dataset="transforms")


def test_near_and_far_of_frames_are_taken(capture: Path) -> None:
    change(capture, {index: {"near": 2.0 + 0.1 * index, "far": 5.0} for index in range(9)})
    scene = load(capture, dataset="transforms")
    scale = 4 / 3  # the cameras are 3 from the middle
    np.testing.assert_allclose([scene.near, scene.far], [0.8 * 2 * scale, 1.25 * 5 * scale])
    change(capture, near=1.0)  # of the file it holds for frames that say nothing themselves
    np.testing.assert_allclose(load(capture, dataset="transforms").near, 0.8 * 2 * scale)
    change(capture, {3: {"near": 6.0}})
    with pytest.raises(UserError, match="near and far are 6 and 5, expected 0 < near < far"):
        load(capture, dataset="transforms")


def forward_facing(folder: Path) -> None:
    """Cameras side by side that say what they see."""
    for index in range(9):
        pose = np.eye(4)
        pose[:3, 3] = 0.1 * (index % 3), 0.1 * (index // 3), 0
        change(folder, {index: {"transform_matrix": pose.tolist(), "near": 2.0, "far": 50.0}})


def test_captures_from_before_are_sampled_in_ndc(capture: Path) -> None:
    forward_facing(capture)
    scene = load(capture, dataset="transforms")
    assert scene.ndc is not None
    assert (scene.near, scene.far) == (0, 1)
    # The nearest bound comes to lie at depth 1 / 0.75, as in LLFF's scenes.
    np.testing.assert_allclose(scene.world_scale, 2 * 0.75)
    linear = load(capture, dataset="transforms", ndc=False)
    assert linear.ndc is None
    np.testing.assert_allclose(linear.far / linear.near, 25 * 1.25 / 0.8)


@pytest.mark.parametrize("given", [{"near": 2.0}, {"far": 5.0}])
def test_depths_that_are_given_are_none_of_ndc(capture: Path, given: dict[str, float]) -> None:
    forward_facing(capture)
    with pytest.raises(UserError, match="--near and --far: rays in NDC go from 0 to 1"):
        load(capture, dataset="transforms", **given)


def test_ndc_of_captures_that_do_not_suit_are_refused(capture: Path) -> None:
    with pytest.raises(UserError, match="--ndc needs near and far in the frames"):
        load(capture, dataset="transforms", ndc=True)
    change(capture, {index: {"near": 2.0, "far": 5.0} for index in range(9)})
    with pytest.raises(UserError, match=r"--ndc is for cameras that look the same way|no average"):
        load(capture, dataset="transforms", ndc=True)
    forward_facing(capture)
    change(capture, camera_model="OPENCV_FISHEYE")
    with pytest.raises(UserError, match="fisheye cameras see what NDC do not hold: give --nondc"):
        load(capture, dataset="transforms")


@pytest.mark.parametrize("lens", ["RADIAL", "OPENCV", "RADIAL_FISHEYE", "OPENCV_FISHEYE"])
def test_what_is_advised_for_forward_facing_captures_can_be_trained_on(
    capture: Path, lens: str
) -> None:
    forward_facing(capture)
    change(capture, camera_model=lens)
    values = flags.FlagValues()
    define_flags(values)
    given = f"--flagfile={ROOT}/configs/fast/{suitable_flags(True, lens)} --data_dir={capture}"
    values(values.read_flags_from_files(["train", *given.split()]))
    config = config_from_flags(values)
    scene = load_scene(config.scene)
    assert (scene.ndc is None) == ("FISHEYE" in lens)
    # Without NDC z is up, of which as much is seen as of x and y.
    assert scene.ndc is not None or config.network.plane_shares == (1, 1, 1)


@pytest.mark.parametrize(
    ("keys", "lens"),
    [
        ({"camera_model": "OPENCV_FISHEYE", "k3": 0.01}, "fisheye"),
        ({"is_fisheye": True, "k1": 0.01}, "fisheye"),
        ({"camera_model": "EQUIRECTANGULAR"}, "equirectangular"),
        ({"equirectangular": True}, "equirectangular"),
        ({"k3": 0.01, "k6": 0.02}, "perspective"),
    ],
)
def test_kinds_of_lenses_are_told_from_the_file(
    capture: Path, keys: dict[str, Any], lens: str
) -> None:
    change(capture, **keys)
    cameras = load(capture, dataset="transforms").train.cameras
    assert cameras.lens == lens
    if lens == "equirectangular":
        rays = cameras.rays([0], [12], [0], pixel_centers=False)
        back = cameras.camera_to_world[0, :, 2]
        np.testing.assert_allclose(rays.directions[0], back, atol=1e-6)


def test_frames_of_different_lenses_are_refused(capture: Path) -> None:
    change(capture, {2: {"camera_model": "OPENCV_FISHEYE"}})
    with pytest.raises(UserError, match="found fisheye and perspective frames, expected one kind"):
        load(capture, dataset="transforms")


# The format told from the files.


def test_the_format_is_told_where_a_folder_is_given(
    capture: Path, caplog: pytest.LogCaptureFixture
) -> None:
    values = flags.FlagValues()
    define_flags(values)
    with caplog.at_level(logging.INFO, "tfnerf"):
        values(["", f"--data_dir={capture}"])
        assert scene_from_flags(values).dataset == "transforms"
    assert "read as --dataset=transforms" in caplog.text
    # From Python too, where no flags are read.
    settings = SceneSettings(dataset="auto", data_dir=str(capture))
    assert load_scene(settings).name == capture.name


def test_without_a_folder_it_is_the_built_in_scene() -> None:
    assert SceneSettings().dataset == "builtin"
