"""Reading scenes: what they hold, and what is said of bad ones."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from small import small_scene

from tfnerf.errors import UserError
from tfnerf.geometry.paths import orbit_pose
from tfnerf.geometry.poses import to_4x4
from tfnerf.scenes import Scene, load_scene, solids, to_colors
from tfnerf.scenes.files import shrink
from tfnerf.scenes.split import hold_out
from tfnerf.settings import SceneSettings


def poses(count: int) -> np.ndarray:
    return np.stack([to_4x4(orbit_pose(0.7 * index, 0.4, 3.0)) for index in range(count)])


def image(value: int, channels: int = 3, size: tuple[int, int] = (8, 10)) -> np.ndarray:
    return np.full([*size, channels], value, np.uint8)


def write_json(path: Path, **content: Any) -> None:
    path.write_text(json.dumps(content))


@pytest.fixture
def blender(tmp_path: Path) -> Path:
    """Two training views, three test views."""
    for split, count in (("train", 2), ("test", 3)):
        (tmp_path / split).mkdir()
        frames = []
        for index, pose in enumerate(poses(count)):
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": pose.tolist()})
            imageio.imwrite(tmp_path / split / f"r_{index}.png", image(10 * index, 4))
        write_json(tmp_path / f"transforms_{split}.json", camera_angle_x=0.8, frames=frames)
    return tmp_path


@pytest.fixture
def llff(tmp_path: Path) -> Path:
    """Five views, full size and at half size."""
    rows = []
    for index in range(5):
        pose = np.array([[0, 1, 0, index], [-1, 0, 0, 0], [0, 0, 1, 0.0]])
        matrix = np.concatenate([pose, [[16], [20], [25]]], -1)
        rows.append([*matrix.ravel(), 2.0, 9.0])
    np.save(tmp_path / "poses_bounds.npy", rows)
    (tmp_path / "images").mkdir()
    for index in range(5):
        gradient = np.arange(16 * 20 * 3).reshape(16, 20, 3) % 251 + index
        imageio.imwrite(tmp_path / "images" / f"{index}.png", gradient.astype(np.uint8))
    return tmp_path


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """Nine frames with a lens; the images of two are missing."""
    (tmp_path / "images").mkdir()
    frames = []
    for index, pose in enumerate(poses(9)):
        pose[:3, 3] += [5, 6, 7]
        frames.append({"file_path": f"images/{index}.jpg", "transform_matrix": pose.tolist()})
        if index not in (3, 5):
            imageio.imwrite(tmp_path / "images" / f"{index}.jpg", image(20 * index))
    write_json(
        tmp_path / "transforms.json",
        fl_x=12.0, fl_y=13.0, cx=4.9, cy=4.1, k1=0.05, k2=-0.01, p1=0.001, p2=0.002,
        w=10, h=8, frames=frames,
    )  # fmt: skip
    return tmp_path


@pytest.fixture
def deepvoxels(tmp_path: Path) -> Path:
    """Three training and four test views of one shape."""
    for split, count in (("train", 3), ("test", 4)):
        folder = tmp_path / split / "cube"
        (folder / "pose").mkdir(parents=True)
        (folder / "rgb").mkdir()
        (folder / "intrinsics.txt").write_text("40 16 16 0\n0 0 0\n1\n1.\n32 32\n0\n")
        for index, pose in enumerate(poses(count) * [1, -1, -1, 1]):
            (folder / "pose" / f"{index}.txt").write_text(" ".join(map(str, pose.ravel())))
            imageio.imwrite(folder / "rgb" / f"{index}.png", image(index, size=(16, 16)))
    return tmp_path


def load(folder: Path, **settings: Any) -> Scene:
    return load_scene(SceneSettings(data_dir=str(folder), **settings))


def refused(message: str, folder: Path, **settings: Any) -> None:
    """Loading fails with one line that has the message and names a path or a flag."""
    with pytest.raises(UserError, match=message) as caught:
        load(folder, **settings)
    text = str(caught.value)
    assert "\n" not in text
    assert str(folder) in text or "--" in text


def test_blender_scene(blender: Path) -> None:
    scene = load(blender, dataset="blender", test_skip=2)
    assert scene.train.names == ("r_0", "r_1")
    assert scene.splits["test"].names == ("r_0", "r_2")
    assert scene.train.images.dtype == np.uint8
    assert (scene.near, scene.far) == (2, 6)
    np.testing.assert_allclose(scene.train.cameras.focal, 5 / np.tan(0.4), rtol=1e-6)
    np.testing.assert_allclose(scene.train.cameras.camera_to_world, poses(2)[:, :3], rtol=1e-6)


def test_blender_without_test_views_can_be_trained(blender: Path) -> None:
    (blender / "transforms_test.json").unlink()
    assert load(blender, dataset="blender").held_out is None


def test_near_and_far_can_be_set(blender: Path) -> None:
    scene = load(blender, dataset="blender", near=1.5, far=9.0)
    assert (scene.near, scene.far) == (1.5, 9)
    refused("near is 2 and far 1, expected near < far", blender, dataset="blender", far=1.0)


@pytest.mark.parametrize("straight", [False, True])
def test_half_resolution_averages_colours(
    blender: Path, rng: np.random.Generator, straight: bool
) -> None:
    """Straight: colour and alpha apart; otherwise what is seen on white."""
    pixels = rng.integers(0, 256, [8, 10, 4]).astype(np.uint8)
    for index in range(2):
        imageio.imwrite(blender / "train" / f"r_{index}.png", pixels)
    scene = load(
        blender,
        dataset="blender",
        half_res=True,
        resize_straight_alpha=straight,
        white_background=True,
    )
    colors = to_colors(
        scene.train.images[0], scene.train.white_level, white_background=True
    ).numpy()

    def halved(values: np.ndarray) -> np.ndarray:
        return values.reshape(4, 2, 5, 2, -1).mean((1, 3))

    rgba = pixels / 255
    if straight:
        rgba = halved(rgba)
        expected = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    else:
        expected = halved(rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:])
    np.testing.assert_allclose(colors, expected, atol=1 / 1020 if not straight else 1e-6)
    np.testing.assert_allclose(scene.train.cameras.focal, 2.5 / np.tan(0.4), rtol=1e-6)


def test_llff_scene(llff: Path) -> None:
    scene = load(llff, dataset="llff", holdout_every=2)
    assert scene.splits["test"].names == ("0", "2", "4")
    assert scene.train.names == ("1", "3")
    assert (scene.near, scene.far) == (0, 1)
    assert scene.ndc is not None
    assert (scene.ndc.height, scene.ndc.width, scene.ndc.focal) == (16, 20, 25)
    # The average camera is the identity; the nearest bound, 2, became 1 / 0.75.
    every = load(llff, dataset="llff", holdout_every=0).train.cameras.camera_to_world
    np.testing.assert_allclose(every[2], np.eye(4)[:3], atol=1e-6)
    np.testing.assert_allclose(every[:, 0, 3], np.arange(-2, 3) / (2 * 0.75), atol=1e-6)


def test_llff_without_ndc_takes_the_bounds(llff: Path) -> None:
    scene = load(llff, dataset="llff", ndc=False)
    assert scene.ndc is None
    np.testing.assert_allclose([scene.near, scene.far], [0.9 / 0.75, 4.5 / 0.75])


@pytest.mark.parametrize("spherify", [False, True])
def test_scene_coordinates_lead_back_to_the_file(
    real_data: Callable[[str], Path], spherify: bool
) -> None:
    folder = real_data("nerf_llff_data/fern")
    scene = load(folder, dataset="llff", factor=8, spherify=spherify, holdout_every=0)
    positions = scene.train.cameras.camera_to_world[:, :, 3]
    world = positions @ scene.scene_to_world[:3, :3].T + scene.scene_to_world[:3, 3]
    rows = np.load(folder / "poses_bounds.npy")[:, :15].reshape(-1, 3, 5)
    np.testing.assert_allclose(world, rows[:, :, 3], atol=1e-3)


def test_llff_images_are_shrunk_once_and_kept(llff: Path) -> None:
    scene = load(llff, dataset="llff", factor=4, holdout_every=0)
    assert scene.train.images.shape == (5, 4, 5, 3)
    assert scene.train.cameras.focal[0, 0] == 25 / 4
    assert sorted(path.name for path in llff.iterdir()) == [
        "images",
        "images_4",
        "poses_bounds.npy",
    ]
    full = load(llff, dataset="llff", holdout_every=0).train.images.astype(float)
    mean = full.reshape(5, 4, 4, 5, 4, 3).mean((2, 4))
    np.testing.assert_allclose(scene.train.images, mean, atol=1)
    before = (llff / "images_4" / "0.png").stat().st_mtime_ns
    again = load(llff, dataset="llff", factor=4, holdout_every=0)
    np.testing.assert_array_equal(again.train.images, scene.train.images)
    assert (llff / "images_4" / "0.png").stat().st_mtime_ns == before


def test_transforms_scene(capture: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "tfnerf"):
        scene = load(capture, dataset="transforms", holdout_every=3)
    assert caplog.text.count("\n") == 1
    assert "2 of 9 frames skipped" in caplog.text
    assert scene.splits["test"].names == ("0", "4", "8")
    assert scene.train.names == ("1", "2", "6", "7")
    cameras = scene.train.cameras
    np.testing.assert_allclose(cameras.focal, [[12, 13]] * 4)
    np.testing.assert_allclose(cameras.center, [[4.9, 4.1]] * 4)
    np.testing.assert_allclose(cameras.distortion, [[0.05, -0.01, 0.001, 0.002]] * 4)
    # The cameras look at (5, 6, 7) from a distance of 3, which becomes 4.
    np.testing.assert_allclose(np.linalg.norm(cameras.camera_to_world[:, :, 3], axis=-1), 4)
    np.testing.assert_allclose(scene.scene_to_world[:3, 3], [5, 6, 7], atol=1e-6)
    assert 0 < scene.near < 4 < scene.far


def test_transforms_scene_shrunk(capture: Path) -> None:
    scene = load(capture, dataset="transforms", factor=2)
    cameras = scene.train.cameras
    assert (cameras.height, cameras.width) == (4, 5)
    np.testing.assert_allclose(cameras.focal[0], [6, 6.5])
    np.testing.assert_allclose(cameras.center[0], [2.45, 2.05])


def test_transforms_intrinsics_may_stand_in_each_frame(capture: Path) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    focal = content.pop("fl_x")
    for index, frame in enumerate(content["frames"]):
        frame["fl_x"] = focal + index
    write_json(capture / "transforms.json", **content)
    scene = load(capture, dataset="transforms", holdout_every=0)
    np.testing.assert_allclose(
        scene.train.cameras.focal[:, 0], focal + np.array([0, 1, 2, 4, 6, 7, 8])
    )


def test_the_fox_is_read(real_data: Callable[[str], Path]) -> None:
    scene = load(real_data("instant_ngp_fox"), dataset="transforms", factor=8)
    assert len(scene.train) + len(scene.splits["test"]) == 50
    assert scene.train.cameras.distortion.any()


def test_deepvoxels_scene(deepvoxels: Path) -> None:
    scene = load(deepvoxels, dataset="deepvoxels", shape="cube", test_skip=2)
    assert scene.train.names == ("0", "1", "2")
    assert scene.splits["test"].names == ("0", "2")
    np.testing.assert_allclose(scene.train.cameras.focal, 20)  # 40 pixels of 32, images of 16
    np.testing.assert_allclose(scene.train.cameras.camera_to_world, poses(3)[:, :3], atol=1e-6)
    np.testing.assert_allclose([scene.near, scene.far], [2, 4], rtol=1e-6)


def test_tiny_nerf_scene(real_data: Callable[[str], Path]) -> None:
    path = real_data("tiny_nerf/tiny_nerf_data.npz")
    scene = load(path, dataset="tiny_nerf")
    assert len(scene.train) == 100
    assert scene.splits["test"].names == tuple(f"{view}" for view in range(100, 106))
    truth = np.load(path)["images"][103]
    colors = to_colors(scene.splits["test"].images[3], 65535, white_background=False)
    np.testing.assert_allclose(colors, truth, atol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros([0, 4, 4, 3]), "poses": np.zeros([0, 4, 4])}, "values from 0 to 1"),
        ({"images": np.full([1, 4, 4, 3], 2.0)}, "values from 0 to 1"),
        ({"poses": np.float32(1)}, r"poses \(\), expected"),
        ({"images": np.array(["a"])}, "to be numbers"),
        ({"focal": np.zeros(2)}, "expected one positive number"),
    ],
)
def test_bad_tiny_nerf_arrays_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    good = {"images": np.zeros([1, 4, 4, 3]), "poses": np.eye(4)[None], "focal": np.float64(5)}
    path = tmp_path / "tiny_nerf_data.npz"
    np.savez(path, **{**good, **arrays})
    refused(message, tmp_path, dataset="tiny_nerf")
    path.write_bytes(path.read_bytes()[:-40])
    refused("not readable as .npz", tmp_path, dataset="tiny_nerf")


def test_test_views_can_be_read_alone(blender: Path) -> None:
    settings = SceneSettings(dataset="blender", data_dir=str(blender))
    scene = load_scene(settings, ("test",))
    assert list(scene.splits) == ["test"]


@pytest.mark.slow
def test_builtin_scene_is_deterministic_and_shows_its_solids() -> None:
    settings = SceneSettings(dataset="builtin", white_background=True)
    one, other = (load_scene(settings, ("train",)) for _ in range(2))
    np.testing.assert_array_equal(one.train.images, other.train.images)
    alpha = one.train.images[..., 3] / 255
    assert 0.1 < alpha.mean() < 0.7
    # Rays through opaque pixels meet a surface between near and far, others do not.
    cameras = one.train.cameras
    for row, column in ((32, 32), (0, 0)):
        rays = cameras.rays([0], [row], [column], pixel_centers=True)
        depths = np.linspace(one.near, one.far, 400)[:, None]
        points = rays.origins.numpy() + depths * rays.directions.numpy()
        assert (solids.signed_distance(points).min() < 0) == (alpha[0, row, column] > 0.5)


def test_builtin_highlights_move_with_the_camera() -> None:
    """The brightest spot of the red sphere is not the same point from everywhere."""
    train = load_scene(SceneSettings(dataset="builtin"), ("train",)).train
    rgb = train.images[..., :3].astype(float)
    red = (rgb[..., 0] > 100) & (rgb[..., 1] < 0.75 * rgb[..., 0])
    brightest = [rgb[view][red[view]].sum(-1).max(initial=0) for view in range(len(train))]
    assert np.std(brightest) > 10


def test_patterns_change_what_solids_are_painted_with_and_not_their_shape() -> None:
    plain, patterned = (
        load_scene(SceneSettings(dataset="builtin", builtin_patterns=on), ("val",)).splits["val"]
        for on in (False, True)
    )
    np.testing.assert_array_equal(plain.images[..., 3], patterned.images[..., 3])
    opaque = plain.images[..., 3] == 255
    before, after = (views.images[opaque][:, :3].sum(-1) for views in (plain, patterned))
    assert (after <= before).all() and 0.4 < (after < 0.8 * before).mean() < 0.8


def test_patterns_move_with_their_solids() -> None:
    """Where a solid was is as far from it then as the place is from it now."""
    points = np.random.default_rng(0).uniform(-1, 1, [1000, 3])
    for moved, still in zip(solids.solids_at(0.4), solids.solids_at(0)):
        np.testing.assert_allclose(
            moved.distance(points), still.distance(moved.at_rest(points)), atol=1e-12
        )


def test_builtin_views_of_another_size_show_the_same() -> None:
    small, usual = (
        load_scene(SceneSettings(dataset="builtin", builtin_size=size), ("val",)).splits["val"]
        for size in (32, 64)
    )
    assert small.images.shape == (6, 32, 32, 4)
    halved = usual.images.astype(float).reshape(6, 32, 2, 32, 2, 4).mean((2, 4))
    assert np.abs(halved[..., 3] - small.images[..., 3]).mean() < 2
    np.testing.assert_allclose(small.cameras.focal * 2, usual.cameras.focal)


# Bad input.


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    for dataset in ("blender", "llff", "deepvoxels", "transforms", "tiny_nerf"):
        refused("no such", tmp_path / "nothing", dataset=dataset)
    with pytest.raises(UserError, match="--data_dir: not given"):
        load_scene(SceneSettings(dataset="llff"))


def test_an_unknown_dataset_is_refused() -> None:
    with pytest.raises(UserError, match="--dataset=lego: expected one of auto, builtin, blender"):
        SceneSettings(dataset="lego")  # type: ignore[arg-type]


def test_bad_images_are_refused(blender: Path) -> None:
    path = blender / "train" / "r_1.png"
    path.unlink()
    refused("r_1: no such image", blender, dataset="blender")
    imageio.imwrite(path, np.random.default_rng(0).integers(0, 256, [8, 10, 4]).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:-100])
    refused("r_1.png: damaged image", blender, dataset="blender")
    path.write_bytes(b"not an image")
    refused("r_1.png: not an image", blender, dataset="blender")
    imageio.imwrite(path, image(3, 4, (8, 12)))
    refused("r_1.png: found 12 x 8 pixels, expected 10 x 8 as in r_0", blender, dataset="blender")
    imageio.imwrite(path, np.full([8, 10], 3, np.uint16))
    refused("r_1.png: found pixels of mode I", blender, dataset="blender")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"camera_angle_x": 0.8, "frames": [{"file', "not readable as JSON"),
        ("[]", "found a JSON list, expected an object"),
        ('{"camera_angle_x": 0.8}', "expected a list of objects named frames"),
        ('{"camera_angle_x": 0.8, "frames": []}', "found no frames"),
        ('{"camera_angle_x": 0.8, "frames": [{}]}', "file_path of frame 0 is None"),
        ('{"camera_angle_x": 1, "frames": [{"file_path": "a"}]}', "frame 0: the pose has shape"),
    ],
)
def test_bad_json_is_refused(blender: Path, content: str, message: str) -> None:
    (blender / "transforms_train.json").write_text(content)
    refused(f"transforms_train.json: .*{message}", blender, dataset="blender")


@pytest.mark.parametrize(
    ("pose", "message"),
    [
        (np.eye(3).tolist(), r"shape \[3, 3\], expected \[4, 4\]"),
        (np.full([4, 4], np.nan).tolist(), "not finite"),
        (np.zeros([4, 4]).tolist(), "singular"),
        (np.diag([1, 1, -1, 1]).tolist(), "the pose is mirrored"),
        (np.diag([1, 1, 1.1, 1]).tolist(), "the pose is skewed"),
        (np.add(np.eye(4), np.eye(4, k=1) / 9).tolist(), "the pose is skewed"),
        ([[1, 2], [3]], "not a matrix"),
        ("identity", "not a matrix"),
    ],
)
@pytest.mark.parametrize("dataset", ["blender", "transforms"])
def test_bad_poses_are_refused(
    request: pytest.FixtureRequest, dataset: str, pose: object, message: str
) -> None:
    blend = dataset == "blender"
    folder = request.getfixturevalue("blender" if blend else "capture")
    path = folder / ("transforms_train.json" if blend else "transforms.json")
    content = json.loads(path.read_text())
    content["frames"][1]["transform_matrix"] = pose
    write_json(path, **content)
    refused(message, folder, dataset=dataset)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 3.0])
@pytest.mark.parametrize("dataset", ["blender", "transforms"])
def test_the_scale_of_the_axes_of_cameras_is_taken_away(
    request: pytest.FixtureRequest,
    dataset: str,
    scale: float,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = request.getfixturevalue("blender" if dataset == "blender" else "capture")
    plain = load(folder, dataset=dataset).train.cameras
    assert not [record for record in caplog.records if "length" in record.message]
    path = folder / ("transforms_train.json" if dataset == "blender" else "transforms.json")
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        matrix = np.array(frame["transform_matrix"])
        frame["transform_matrix"] = (matrix @ np.diag([scale, scale, scale, 1])).tolist()
    write_json(path, **content)
    found = load(folder, dataset=dataset).train.cameras
    np.testing.assert_allclose(found.camera_to_world, plain.camera_to_world, atol=1e-5)
    (warning,) = (record.message for record in caplog.records if "length" in record.message)
    assert path.name in warning and f"length {scale:.3g}" in warning


def test_bad_poses_bounds_are_refused(llff: Path) -> None:
    path = llff / "poses_bounds.npy"
    rows = np.load(path)
    np.save(path, rows[:4])
    refused("found 4 rows, expected 5, one for each image", llff, dataset="llff")
    np.save(path, rows[:, :16])
    refused(r"found shape \(5, 16\), expected \[V, 17\]", llff, dataset="llff")
    rows[2, 15:] = [9, 2]
    np.save(path, rows)
    refused("row 2 has near 9 and far 2, expected 0 < near < far", llff, dataset="llff")
    rows[1, 3] = np.nan
    np.save(path, rows)
    refused("row 1 has numbers that are not finite", llff, dataset="llff")
    path.write_bytes(path.read_bytes()[:100])
    refused("not readable as .npy", llff, dataset="llff")


def test_pickles_are_never_loaded(llff: Path, tmp_path: Path) -> None:
    np.save(llff / "poses_bounds.npy", np.array([{"a": 1}], object), allow_pickle=True)
    refused("not readable as .npy", llff, dataset="llff")
    np.savez(tmp_path / "tiny_nerf_data.npz", images=np.array([{}], object), poses=0, focal=0)
    refused("not readable as .npz", tmp_path, dataset="tiny_nerf")


def test_llff_images_that_cannot_be_kept_are_shrunk_all_the_same(
    llff: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    kept = load(llff, dataset="llff", factor=2).train.images
    shutil.rmtree(llff / "images_2")
    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    np.testing.assert_array_equal(load(llff, dataset="llff", factor=2).train.images, kept)
    assert "images_2: not kept: Permission denied" in caplog.text


def test_llff_images_that_another_process_has_shrunk_meanwhile_are_taken(
    llff: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(llff, dataset="llff", factor=2).train.images
    done = llff / "images_2"
    shutil.move(done, llff / "aside")

    def shrink_late(image: np.ndarray, factor: int) -> np.ndarray:
        if not done.exists():
            shutil.copytree(llff / "aside", done)
        return shrink(image, factor)

    monkeypatch.setattr("tfnerf.scenes.llff.shrink", shrink_late)
    np.testing.assert_array_equal(load(llff, dataset="llff", factor=2).train.images, first)
    assert "not kept" not in caplog.text


def test_an_empty_folder_of_images_leaves_nothing_behind(llff: Path) -> None:
    for path in (llff / "images").iterdir():
        path.unlink()
    refused("images: found no images", llff, dataset="llff", factor=2)
    assert not (llff / "images_2").exists()


def test_llff_images_of_another_size_than_the_poses_are_refused(llff: Path) -> None:
    shutil.copytree(llff / "images", llff / "images_2")
    refused("found images of 20 x 16 pixels, expected 10 x 8", llff, dataset="llff", factor=2)


def test_missing_llff_images_name_what_there_is(llff: Path) -> None:
    (llff / "images").rename(llff / "images_2")
    refused("images_8: no such folder.*found images_2", llff, dataset="llff", factor=8)


def test_no_training_views_are_refused(llff: Path) -> None:
    with pytest.raises(UserError, match="no training views; --holdout_every=0"):
        load(llff, dataset="llff", holdout_every=1)


def test_captures_that_cannot_be_read_are_refused(capture: Path) -> None:
    path = capture / "transforms.json"
    good = json.loads(path.read_text())
    for change, message in (
        ({"camera_model": "FOV"}, "camera_model is FOV, expected"),
        ({"is_fisheye": True}, "p[12] is 0.00[12], expected 0 for a lens that is fisheye"),
        ({"fl_x": -3}, "expected positive numbers"),
        ({"fl_x": "wide"}, "fl_x is 'wide', expected a finite number"),
        ({"fl_x": 10**400}, "fl_x is 1000000.*, expected a finite number"),
        ({"k1": -3.0}, "k1 -3, .*: a lens cannot bend light so much"),
        ({"w": 8, "h": 10}, "8 x 10, but the images have 10 x 8 pixels: turned, .* EXIF"),
        ({"w": 10, "h": 10}, "10 x 10, but the images have 10 x 8 pixels: another shape"),
    ):
        write_json(path, **{**good, **change})
        refused(message, capture, dataset="transforms")
    for file in (capture / "images").iterdir():
        file.unlink()
    refused("found no frame whose image is there", capture, dataset="transforms")


def test_cameras_that_look_the_same_way_need_near_and_far(capture: Path) -> None:
    path = capture / "transforms.json"
    content = json.loads(path.read_text())
    for index, frame in enumerate(content["frames"]):
        pose = np.eye(4)
        pose[0, 3] = index
        frame["transform_matrix"] = pose.tolist()
    write_json(path, **content)
    refused("set --near and --far", capture, dataset="transforms")
    scene = load(capture, dataset="transforms", near=1.0, far=20.0)
    assert (scene.near, scene.far) == (1, 20)
    np.testing.assert_array_equal(scene.scene_to_world, np.eye(4))


@pytest.mark.parametrize("turn", [np.pi, np.pi / 2])
def test_cameras_that_look_at_nothing_in_common_need_near_and_far(
    capture: Path, turn: float
) -> None:
    """Outwards from the middle of a room, or along its walls."""
    path = capture / "transforms.json"
    content = json.loads(path.read_text())
    turned = np.eye(4)
    turned[::2, ::2] = [[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    for frame in content["frames"]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ turned).tolist()
    write_json(path, **content)
    refused("as in a room, .*set --near and --far", capture, dataset="transforms")
    scene = load(capture, dataset="transforms", near=1.0, far=20.0)
    assert (scene.near, scene.far) == (1, 20)


def test_split_files_of_a_room_need_near_and_far(blender: Path) -> None:
    turned = np.diag([-1.0, 1, -1, 1])
    path = blender / "transforms_train.json"
    content = json.loads(path.read_text())
    for frame in content["frames"]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) @ turned).tolist()
    write_json(path, **content)
    refused("transforms_train.json: .*set --near and --far", blender, dataset="blender")
    scene = load(blender, dataset="blender", near=1.0, far=20.0)
    assert (scene.near, scene.far) == (1, 20)


def scene_file(request: pytest.FixtureRequest, dataset: str) -> Path:
    """The file of the training views of a scene of each kind."""
    if dataset == "blender":
        return Path(request.getfixturevalue("blender")) / "transforms_train.json"
    return Path(request.getfixturevalue("capture")) / "transforms.json"


def change_json(path: Path, frames: dict[str, Any] | None = None, **changes: Any) -> None:
    """Keys of a file, and of each frame in it; those that become None are removed."""
    content = {**json.loads(path.read_text()), **changes}
    content["frames"] = [{**frame, **(frames or {})} for frame in content["frames"]]
    write_json(path, **{key: value for key, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("angle", "message"), [(None, "is None, expected a finite number"), (4, "expected radians")]
)
def test_bad_angles_of_view_are_refused(blender: Path, angle: float | None, message: str) -> None:
    change_json(blender / "transforms_train.json", camera_angle_x=angle)
    refused(
        f"transforms_train.json: camera_angle_x is .*{message.removeprefix('is ')}",
        blender,
        dataset="blender",
    )


@pytest.mark.parametrize("half_res", [False, True])
def test_split_files_of_a_real_capture_have_its_lens(blender: Path, half_res: bool) -> None:
    lens = {"k1": 0.05, "k2": -0.01, "p1": 0.001, "p2": 0.002}
    for split in ("train", "test"):
        change_json(
            blender / f"transforms_{split}.json",
            camera_angle_x=None, fl_x=12.0, fl_y=13.0, cx=4.9, cy=4.1, **lens,
        )  # fmt: skip
    shrunk = 0.5 if half_res else 1.0
    for views in load(blender, dataset="blender", half_res=half_res).splits.values():
        cameras = views.cameras
        np.testing.assert_allclose(cameras.focal[-1], np.multiply([12, 13], shrunk))
        np.testing.assert_allclose(cameras.center[-1], np.multiply([4.9, 4.1], shrunk), rtol=1e-6)
        np.testing.assert_allclose(cameras.distortion[-1], list(lens.values()), rtol=1e-6)


def test_angles_of_view_may_differ_in_x_and_y(capture: Path) -> None:
    angles = {"camera_angle_x": 2 * np.arctan(5 / 12), "camera_angle_y": 2 * np.arctan(4 / 15)}
    change_json(capture / "transforms.json", fl_x=None, fl_y=None, **angles)
    focal = load(capture, dataset="transforms").train.cameras.focal
    np.testing.assert_allclose(focal, np.tile([12, 15], [len(focal), 1]), rtol=1e-6)


def test_an_angle_of_a_frame_goes_before_pixels_of_the_file(capture: Path) -> None:
    content = json.loads((capture / "transforms.json").read_text())
    content["frames"][1]["camera_angle_x"] = 2 * np.arctan(5 / 20)
    content["frames"][2] |= {"camera_angle_x": 1.0, "fl_x": 15.0}
    write_json(capture / "transforms.json", **content)
    focal = load(capture, dataset="transforms").train.cameras.focal
    np.testing.assert_allclose(focal[:3], [[20, 20], [15, 13], [12, 13]], rtol=1e-6)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ftheta_p0", 0.0),
        ("fisheye_crop_radius", 300.0),
        ("rolling_shutter", [0, 0.1, 0]),
        ("distortion_params", [0.1, 0, 0, 0, 0, 0]),
        ("camera_model", "THIN_PRISM_FISHEYE"),
    ],
)
@pytest.mark.parametrize("in_frames", [False, True])
@pytest.mark.parametrize("dataset", ["blender", "transforms"])
def test_other_lenses_are_refused_by_name(
    request: pytest.FixtureRequest, dataset: str, in_frames: bool, key: str, value: Any
) -> None:
    path = scene_file(request, dataset)
    change_json(path, **({"frames": {key: value}} if in_frames else {key: value}))
    refused(f"{path.name}: {key} ", path.parent, dataset=dataset)


@pytest.mark.parametrize("dataset", ["blender", "transforms"])
def test_keys_that_are_not_used_are_named(
    request: pytest.FixtureRequest, dataset: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = scene_file(request, dataset)
    change_json(path, aabb_scale=4, is_fisheye=False, frames={"sharpness": 3.0})
    load(path.parent, dataset=dataset)
    assert "not used" not in caplog.text
    change_json(path, integer_depth_scale=0.001, frames={"depth_path": "d.png"})
    load(path.parent, dataset=dataset)
    assert f"{path.name}: not used: depth_path, integer_depth_scale" in caplog.text


def test_split_files_say_by_being_there_what_is_held_out(
    blender: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change_json(blender / "transforms_train.json", test_filenames=["a.png"], near=1.0)
    load(blender, dataset="blender")
    assert "transforms_train.json: not used: near, test_filenames" in caplog.text


def test_split_files_may_have_masks(blender: Path) -> None:
    mask = np.zeros([8, 10], np.uint8)
    mask[:4] = 255
    imageio.imwrite(blender / "m.png", mask)
    change_json(blender / "transforms_train.json", frames={"mask_path": "m.png"})
    for half_res, rows in ((False, 4), (True, 2)):
        masks = load(blender, dataset="blender", half_res=half_res).train.masks
        assert masks is not None and masks.shape[1:] == ((4, 5) if half_res else (8, 10))
        assert masks[:, :rows].all() and not masks[:, rows:].any()


def rename_images(folder: Path, suffix: str) -> None:
    for file in folder.iterdir():
        file.rename(file.with_suffix(suffix))


@pytest.mark.parametrize("on_disk", [".png", ".JPG", ".jpeg", ".PNG"])
@pytest.mark.parametrize(
    "spelt", ["train/r_{}", "train\\r_{}", ".\\train\\r_{}{}", "./train/r_{}{}", "train/r_{}{}"]
)
@pytest.mark.parametrize("dataset", ["blender", "transforms"])
def test_images_are_found_however_their_names_are_spelt(
    blender: Path, dataset: str, on_disk: str, spelt: str
) -> None:
    rename_images(blender / "train", on_disk)
    content = json.loads((blender / "transforms_train.json").read_text())
    for number, frame in enumerate(content["frames"]):
        frame["file_path"] = spelt.format(number, on_disk.swapcase())
    write_json(blender / "transforms_train.json", **content)
    write_json(blender / "transforms.json", **content)
    settings = {"holdout_every": 0} if dataset == "transforms" else {}
    views = load(blender, dataset=dataset, **settings).train
    np.testing.assert_array_equal(views.images[:, 0, 0, 0], [0, 10])


@pytest.mark.parametrize("dataset", ["blender", "transforms"])
def test_a_name_that_means_two_images_is_refused(blender: Path, dataset: str) -> None:
    imageio.imwrite(blender / "train" / "r_1.jpg", image(99))
    (blender / "transforms.json").write_text((blender / "transforms_train.json").read_text())
    refused("r_1: no such image, and both r_1.jpg and r_1.png", blender, dataset=dataset)


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0])
def test_near_and_far_of_split_files_enclose_the_scene(blender: Path, size: float) -> None:
    """Whichever splits are read."""
    for split in ("train", "test"):
        path = blender / f"transforms_{split}.json"
        content = json.loads(path.read_text())
        for frame in content["frames"]:
            matrix = np.array(frame["transform_matrix"])
            matrix[:3, 3] *= size
            frame["transform_matrix"] = matrix.tolist()
        write_json(path, **content)
    both = load(blender, dataset="blender")
    alone = load_scene(SceneSettings(dataset="blender", data_dir=str(blender)), ["test"])
    assert (both.near, both.far) == (alone.near, alone.far)
    if size == 1.0:
        assert (both.near, both.far) == (2, 6)
    else:
        np.testing.assert_allclose([both.near, both.far], [0.6 * size, 9 * size], rtol=1e-5)


@pytest.mark.parametrize(("alpha", "color", "warned"), [(0, 9, True), (0, 0, False), (9, 9, False)])
def test_colours_behind_transparency_are_warned_of(
    blender: Path, caplog: pytest.LogCaptureFixture, alpha: int, color: int, warned: bool
) -> None:
    pixels = image(200, 4)
    pixels[2, 3] = [color, 0, color, alpha]
    imageio.imwrite(blender / "train" / "r_1.png", pixels)
    load(blender, dataset="blender", white_background=True)
    assert "transparent pixels" not in caplog.text
    load(blender, dataset="blender")
    assert ("transparent pixels have colours" in caplog.text) == warned


@pytest.mark.parametrize(("edge", "warned"), [(255, True), (240, False)])
def test_images_before_white_ask_for_a_white_background(
    blender: Path, caplog: pytest.LogCaptureFixture, edge: int, warned: bool
) -> None:
    for path in (blender / "train").glob("*.png"):
        pixels = np.full([*imageio.imread(path).shape[:2], 3], edge, np.uint8)
        pixels[2:-2, 2:-2] = 90
        imageio.imwrite(path, pixels)
    load(blender, dataset="blender", white_background=True)
    assert "--white_background" not in caplog.text
    load(blender, dataset="blender")
    assert ("the edges of the images are white" in caplog.text) == warned


def test_splits_that_are_not_there_are_no_mistake_of_the_scene(blender: Path) -> None:
    (blender / "transforms_test.json").unlink()
    settings = SceneSettings(dataset="blender", data_dir=str(blender))
    assert load_scene(settings, ["test"]).splits == {}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_scene_files_may_have_a_mark_and_comments(blender: Path, mark: str) -> None:
    path = blender / "transforms_train.json"
    plain = load(blender, dataset="blender").train.cameras
    text = path.read_text().replace("{", '{ // of "Blender"\n /* "a": { */ "b": "//c",', 1)
    path.write_text(mark + text, encoding="utf-8")
    found = load(blender, dataset="blender").train.cameras
    np.testing.assert_array_equal(found.focal, plain.focal)


def test_bad_deepvoxels_files_are_refused(deepvoxels: Path) -> None:
    pose = deepvoxels / "train" / "cube" / "pose" / "1.txt"
    text = pose.read_text()
    pose.write_text("1 2 3")
    refused(
        "1.txt: found 3 numbers, expected the 16", deepvoxels, dataset="deepvoxels", shape="cube"
    )
    pose.write_text("one two")
    refused("1.txt: could not convert", deepvoxels, dataset="deepvoxels", shape="cube")
    pose.write_text(text)
    (deepvoxels / "train" / "cube" / "intrinsics.txt").write_text("40 16 16 0\n")
    refused("intrinsics.txt: found 1 lines", deepvoxels, dataset="deepvoxels", shape="cube")
    intrinsics = deepvoxels / "train" / "cube" / "intrinsics.txt"
    intrinsics.write_text("40 16 16 0\n0 0 0\n1\n1.\n32 32\n0\n")
    (deepvoxels / "train" / "cube" / "rgb" / "0.png").unlink()
    pose.rename(pose.with_name("7.txt"))
    refused(
        r"one pose for each image \(see 0, 1, 7\)", deepvoxels, dataset="deepvoxels", shape="cube"
    )
    refused("vase: no such folder", deepvoxels, dataset="deepvoxels", shape="vase")


def test_views_know_which_of_the_capture_they_are() -> None:
    views = small_scene().train
    np.testing.assert_array_equal(views.indices, [0, 1, 2, 3])
    chosen = views.select([3, 1])
    np.testing.assert_array_equal(chosen.indices, [3, 1])
    np.testing.assert_array_equal(chosen.select([1]).indices, [1])
    splits = hold_out(views, 2, ("train", "test"))
    np.testing.assert_array_equal(splits["train"].indices, [1, 3])
    np.testing.assert_array_equal(splits["test"].indices, [0, 2])
