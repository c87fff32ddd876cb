"""Poses found in pictures whose poses are known; videos, masks, EXIF, kills."""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pycolmap
import pytest
from commands import ROOT, run
from PIL import Image
from textured_room import HEIGHT, RADIUS, WIDTH, arc, photograph

from tfnerf.geometry.paths import orbit_path
from tfnerf.geometry.poses import transformed
from tfnerf.images import write_video
from tfnerf.poses.capture import Report
from tfnerf.poses.doubts import doubtful_images
from tfnerf.poses.photographs import _take_masks
from tfnerf.scenes import Scene, load_scene
from tfnerf.scenes.builtin import _Moment, _render
from tfnerf.scenes.scene import to_colors
from tfnerf.settings import SceneSettings

pytestmark = pytest.mark.slow
NUM_VIEWS = 14


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for index, pose in enumerate(arc(NUM_VIEWS)):
        Image.fromarray(photograph(pose)).save(folder / f"IMG_{index:04d}.jpg", quality=95)
    return folder


def find_poses(images: Path, output: Path, *arguments: str, status: int = 0) -> str:
    outcome: str = run(
        "tfnerf.poses", f"--images={images}", f"--output={output}", *arguments, status=status
    )
    return outcome


def scene_of(folder: Path) -> Scene:
    return load_scene(SceneSettings(dataset="transforms", data_dir=str(folder), holdout_every=0))


def alignment(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The similarity [4, 4] that brings positions of poses to the true ones."""
    one, other = found[:, :, 3], truth[:, :, 3]
    from_, to = one - one.mean(0), other - other.mean(0)
    u, s, vt = np.linalg.svd(to.T @ from_)
    sign = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ sign @ vt
    scale = (s * np.diag(sign)).sum() / (from_**2).sum()
    similarity = np.eye(4)
    similarity[:3, :3] = scale * rotation
    similarity[:3, 3] = other.mean(0) - scale * rotation @ one.mean(0)
    return similarity


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The largest rotation error in degrees and position error, after aligning by a similarity."""
    moved = transformed(alignment(found, truth), found)
    between = np.swapaxes(moved[:, :, :3], 1, 2) @ truth[:, :, :3]
    cosines = (np.trace(between, axis1=1, axis2=2) - 1) / 2
    angles = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    distances = np.linalg.norm(moved[:, :, 3] - truth[:, :, 3], axis=-1)
    return float(angles.max()), float(distances.max())


def assert_axes_are_those_of_the_room(scene: Scene, truth: np.ndarray) -> None:
    """Up is z, and walls lie across x and y, to a degree."""
    turn = alignment(scene.train.cameras.camera_to_world.astype(np.float64), truth)[:3, :3]
    turn /= np.cbrt(np.linalg.det(turn))
    assert turn[2, 2] > np.cos(np.radians(1))
    assert (np.abs(turn).max(0) > np.cos(np.radians(1))).all()


def world_poses(scene: Scene) -> np.ndarray:
    poses = scene.train.cameras.camera_to_world.astype(np.float64)
    return transformed(scene.scene_to_world, poses)


@pytest.fixture(scope="module")
def capture(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captures") / "room"
    output = find_poses(photographs, folder)
    assert f"{NUM_VIEWS} of {NUM_VIEWS} images registered" in output
    assert f"python -m tfnerf.inspect --data_dir={folder}" in output
    return folder


def test_poses_are_those_that_the_pictures_were_taken_from(capture: Path) -> None:
    scene = scene_of(capture)
    angle, distance = errors(world_poses(scene), arc(NUM_VIEWS))
    assert angle < 0.1
    assert distance < 1e-3 * RADIUS


def test_a_capture_says_what_is_needed_to_train_on_it(capture: Path) -> None:
    scene = scene_of(capture)
    assert_axes_are_those_of_the_room(scene, arc(NUM_VIEWS))
    # The room begins 2.5 from the nearest camera and ends 6 from the farthest.
    scale = np.linalg.norm(np.ptp(world_poses(scene)[:, :, 3], axis=0)) / np.linalg.norm(
        np.ptp(arc(NUM_VIEWS)[:, :, 3], axis=0)
    )
    near, far = (value * scene.world_scale / scale for value in (scene.near, scene.far))
    assert 1.2 < near < 3.5
    assert 5 < far < 9
    report = json.loads((capture / "report.json").read_text())
    assert report["num_registered"] == report["num_images"] == NUM_VIEWS
    assert report["mean_reprojection_error"] < 1
    assert report["left_out"] == {} and report["doubtful"] == []
    assert (capture / "points.ply").read_bytes().startswith(b"ply")


def test_an_image_that_is_turned_away_from_what_it_matches_is_in_doubt(
    capture: Path, tmp_path: Path
) -> None:
    found = pycolmap.Reconstruction(capture / "colmap" / "sparse" / "0")
    turned = found.images[found.reg_image_ids()[3]]
    half_a_turn = pycolmap.Rigid3d(pycolmap.Rotation3d([0, 0, 1, 0]), np.zeros(3))
    turned.frame.rig_from_world = half_a_turn * turned.cam_from_world()
    found.write(tmp_path)
    doubtful = doubtful_images(capture / "colmap" / "database.db", tmp_path)
    assert turned.name in doubtful
    # Those beside it have as much to do with others.
    assert len(doubtful) < NUM_VIEWS // 2


def test_up_is_that_of_photographs_as_they_were_held(photographs: Path, tmp_path: Path) -> None:
    """Of seven the camera was held upright for three, which lie on their side among the others."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index in range(7):
        name = f"IMG_{index:04d}.jpg"
        if index % 2:
            x, y, z, position = np.moveaxis(arc(NUM_VIEWS)[index], -1, 0)
            sensor = photograph(np.stack([-y, x, z, position], -1))
            Image.fromarray(np.rot90(sensor, -1)).save(folder / name, quality=95)
        else:
            shutil.copy(photographs / name, folder)
    output = find_poses(folder, tmp_path / "room")
    assert "on their side, as most are: IMG_0001.jpg, IMG_0003.jpg, IMG_0005.jpg" in output
    sensors = arc(NUM_VIEWS)[:7]
    for pose in sensors[1::2]:
        pose[:, :2] = np.stack([-pose[:, 1], pose[:, 0]], -1)
    assert_axes_are_those_of_the_room(scene_of(tmp_path / "room"), sensors)


def test_a_walk_at_one_height_does_not_tilt_the_cameras(tmp_path: Path) -> None:
    """From such nobody can tell how long a focal length is across and how long it is down."""
    walk = arc(NUM_VIEWS, heights=[1.9])
    (tmp_path / "photos").mkdir()
    for index, pose in enumerate(walk):
        Image.fromarray(photograph(pose)).save(
            tmp_path / "photos" / f"IMG_{index:04d}.jpg", quality=95
        )
    assert "in doubt" not in find_poses(tmp_path / "photos", tmp_path / "room")
    assert errors(world_poses(scene_of(tmp_path / "room")), walk)[0] < 0.5


def test_focal_lengths_of_pixels_that_are_not_square_are_in_doubt(capture: Path) -> None:
    report = Report(**json.loads((capture / "report.json").read_text()))
    assert report.doubts == []
    stretched = dataclasses.replace(
        report, lens={**report.lens, "fl_y": 1.07 * report.lens["fl_x"]}
    )
    (doubt,) = stretched.doubts
    assert "pixels that are not square, and tilted cameras; --lens=RADIAL" in doubt


def test_a_capture_of_which_most_is_missing_is_in_doubt(capture: Path) -> None:
    report = Report(**json.loads((capture / "report.json").read_text()))
    (doubt,) = dataclasses.replace(report, num_images=80, num_registered=2).doubts
    assert doubt.startswith("only 2 of 80 images registered")


def test_a_complete_capture_is_not_overwritten(photographs: Path, capture: Path) -> None:
    before = (capture / "transforms.json").read_bytes()
    output = find_poses(photographs, capture, status=1)
    assert "transforms.json: is there already; give another --output" in output
    assert (capture / "transforms.json").read_bytes() == before


def test_inspect_finds_it_sane(capture: Path, tmp_path: Path) -> None:
    picture = f"--picture={tmp_path / 'inspect.png'}"
    output = run("tfnerf.inspect", f"--data_dir={capture}", picture)
    assert "no doubts" in output


def count(database: Path, table: str) -> int:
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as reader:
            return int(reader.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])
    except sqlite3.Error:
        return 0


@pytest.mark.parametrize("table", ["descriptors", "two_view_geometries"])
def test_a_killed_call_is_taken_up(photographs: Path, tmp_path: Path, table: str) -> None:
    output = tmp_path / "room"
    command = [
        *(sys.executable, "-m", "tfnerf.poses"),
        *(f"--images={photographs}", f"--output={output}"),
    ]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE)
    database = output / "colmap" / "database.db"
    deadline = time.monotonic() + 120
    while count(database, table) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (output / "transforms.json").exists()
    refusal = find_poses(photographs, output, "--lens=PINHOLE", status=1)
    assert "--lens=PINHOLE: " in refusal and "was begun with RADIAL" in refusal
    find_poses(photographs, output)
    assert count(database, "cameras") == 1
    assert errors(world_poses(scene_of(output)), arc(NUM_VIEWS))[0] < 0.5


def test_what_others_have_made_is_left_alone(photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "colmap").mkdir()
    (tmp_path / "colmap" / "model").write_text("of another program")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.heic").write_text("the only one")
    assert "not empty, expected a new folder" in find_poses(photographs, tmp_path, status=1)
    assert (tmp_path / "images" / "a.heic").exists()


def test_other_photographs_than_before_are_refused(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("IMG_0000.jpg", "IMG_0001.jpg"):
        shutil.copy(photographs / name, folder)
    assert "expected at least 3" in find_poses(folder, tmp_path / "room", status=1)
    shutil.copy(photographs / "IMG_0002.jpg", folder)
    output = find_poses(folder, tmp_path / "room", status=1)
    assert "was begun with other photographs" in output


def test_a_call_that_took_no_images_may_be_made_again_otherwise(
    photographs: Path, tmp_path: Path
) -> None:
    video, output = tmp_path / "walk.mp4", tmp_path / "walk"
    video.write_bytes(b"of no kind")
    assert "no video that can be read" in find_poses(video, output, status=1)
    (tmp_path / "masks").mkdir()
    Image.new("L", (2, 2)).save(tmp_path / "masks" / "IMG_0003.png")
    refusal = find_poses(photographs, output, f"--masks={tmp_path / 'masks'}", status=1)
    assert "found 2 x 2 pixels" in refusal
    find_poses(photographs, output)
    assert scene_of(output).train.masks is None


def test_a_capture_among_its_photographs_is_taken_up(photographs: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photographs, folder)
    find_poses(folder, folder / "capture")
    (folder / "capture" / "transforms.json").unlink()
    (folder / ".DS_Store").write_bytes(b"of a file manager")
    find_poses(folder, folder / "capture")


def test_a_mask_is_that_of_its_own_name(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, level in (("shot", 255), ("shot.1", 0)):
        Image.new("RGB", (4, 3)).save(tmp_path / "images" / f"{name}.jpg")
        Image.new("L", (4, 3), level).save(tmp_path / "masks" / f"{name}.png")
    _take_masks(tmp_path / "masks", tmp_path / "images", set(), tmp_path / "taken")
    for name, level in (("shot", 255), ("shot.1", 0)):
        mask = imageio.imread(tmp_path / "taken" / f"{name}.jpg.png")
        np.testing.assert_array_equal(mask, np.full([3, 4], level))


def test_the_sharpest_frames_of_a_video_are_taken(tmp_path: Path) -> None:
    """Of each three frames the first two are blurred."""
    from scipy import ndimage

    def frames() -> Any:
        for pose in arc(NUM_VIEWS):
            sharp = photograph(pose)
            for blur in (3.0, 1.5, 0.0):
                yield ndimage.gaussian_filter(sharp, (blur, blur, 0)) if blur else sharp

    write_video(tmp_path / "walk.mp4", frames(), 30)
    folder = tmp_path / "walk"
    output = find_poses(
        tmp_path / "walk.mp4", folder, f"--num_frames={NUM_VIEWS}", "--lens=SIMPLE_PINHOLE"
    )
    assert "WARNING" not in output
    scene = scene_of(folder)
    assert scene.train.names == tuple(f"frame_{index:05d}" for index in range(NUM_VIEWS))
    for index, pose in enumerate(arc(NUM_VIEWS)):
        difference = scene.train.images[index].astype(float) - photograph(pose)
        assert np.sqrt((difference**2).mean()) < 12
    assert errors(world_poses(scene), arc(NUM_VIEWS))[0] < 0.5


def test_all_frames_of_a_short_video_are_taken(tmp_path: Path) -> None:
    """Of a part of an orbit of the built-in scene, whose solids are painted with patterns."""
    settings = SceneSettings(dataset="builtin", builtin_patterns=True, builtin_size=256)
    truth = orbit_path(80)[:20]
    views = (_render(pose, _Moment(), settings) for pose in truth)
    frames = (to_colors(view, 255, white_background=True).numpy() for view in views)
    write_video(tmp_path / "orbit.mp4", (np.rint(255 * f).astype(np.uint8) for f in frames), 30)
    output = find_poses(tmp_path / "orbit.mp4", tmp_path / "orbit", "--lens=SIMPLE_PINHOLE")
    assert "20 of 20 images registered" in output
    angle, distance = errors(world_poses(scene_of(tmp_path / "orbit")), truth)
    assert angle < 0.5 and distance < 0.01 * 4


def test_photographs_are_upright_masked_and_of_one_size(photographs: Path, tmp_path: Path) -> None:
    """One lies on its side and says so, one stands upright, one is PNG, two have odd names.

    Others cannot be used.
    """
    folder, masks = tmp_path / "photos", tmp_path / "masks"
    shutil.copytree(photographs, folder)
    masks.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 8  # turned a quarter clockwise
    with Image.open(folder / "IMG_0003.jpg") as image:
        image.rotate(-90, expand=True).save(folder / "IMG_0003.jpg", exif=exif, quality=95)
    # Held upright, with the lens of the others: the sensor saw the same on its side.
    with Image.open(folder / "IMG_0007.jpg") as image:
        image.rotate(-90, expand=True).save(folder / "IMG_0007.jpg", quality=95)
    with Image.open(folder / "IMG_0005.jpg") as image:
        image.save(folder / "IMG_0005.png")
    (folder / "IMG_0005.jpg").unlink()
    Image.new("RGB", (50, 40)).save(folder / "thumbnail.jpg")
    (folder / "broken.jpg").write_bytes(b"no photograph")
    (folder / "notes.txt").write_text("of no interest")
    mask = np.full([HEIGHT, WIDTH], 255, np.uint8)
    mask[:, :40] = 0
    (folder / "IMG_0001.jpg").rename(folder / "IMG 0001.jpg")
    (folder / "IMG_0013.jpg").rename(folder / "#IMG_0013.jpg")
    Image.fromarray(mask).save(masks / "IMG 0001.png")
    Image.fromarray(mask).save(masks / "IMG_99.png")
    Image.fromarray(np.rot90(mask, -1)).save(masks / "IMG_0007.png")
    output = find_poses(folder, tmp_path / "room", f"--masks={masks}")
    assert "thumbnail.jpg: 50 x 40 pixels, where most have 320 x 240" in output
    assert "broken.jpg: no image that can be read" in output
    assert "masks of no image that is taken: IMG_99.png" in output
    assert f"{NUM_VIEWS} of {NUM_VIEWS + 2} images registered" in output
    scene = scene_of(tmp_path / "room")
    assert len(scene.train) == NUM_VIEWS
    for turned in (3, 7):
        seen = photograph(arc(NUM_VIEWS)[turned]).astype(float)
        assert np.sqrt(((scene.train.images[turned] - seen) ** 2).mean()) < 12
    assert scene.train.masks is not None
    for masked in (1, 7):
        np.testing.assert_array_equal(scene.train.masks[masked], mask == 255)
    assert "taken on their side, as most are: IMG_0007.jpg" in output
    assert errors(world_poses(scene), arc(NUM_VIEWS))[0] < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images=nowhere", "--output={out}"], "--images=nowhere: no such folder or file"),
        (["--images={empty}", "--output={out}"], "found no photographs in this folder"),
        (["--images={photos}", "--output={photos}"], "not empty, expected a new folder"),
        (["--images={photos}", "--output={out}", "--masks=nowhere"], "--masks=nowhere: no such"),
        (
            ["--images={photos}/IMG_0001.jpg", "--output={out}"],
            "found 1 images that can be used, expected at least 3",
        ),
        (["--images={text}", "--output={out}"], "no video that can be read"),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(
    photographs: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no video")
    places = {
        "out": tmp_path / "out",
        "empty": tmp_path / "empty",
        "photos": photographs,
        "text": tmp_path / "text",
    }
    output = run("tfnerf.poses", *(argument.format(**places) for argument in arguments), status=1)
    assert message in output
    assert "Traceback" not in output


def test_pictures_that_have_nothing_in_common_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(4):
        imageio.imwrite(folder / f"{index}.png", rng.integers(0, 255, [60, 80, 3], np.uint8))
    output = find_poses(folder, tmp_path / "out", status=1)
    assert "found no two images that fit together" in output
    assert not (tmp_path / "out" / "transforms.json").exists()
