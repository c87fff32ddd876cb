"""Frames and videos along a camera path."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from small import RENDERING, small_renderer, small_scene

from tfnerf.errors import UserError
from tfnerf.geometry.cameras import NDC, Cameras
from tfnerf.geometry.keyframes import read_keyframes
from tfnerf.geometry.paths import orbit_path, orbit_pose
from tfnerf.geometry.poses import look_along, to_4x4
from tfnerf.images import write_video
from tfnerf.render.frames import KINDS, in_scene_units, render_path, straight_alpha
from tfnerf.scenes import Scene
from tfnerf.scenes.paths import keyframe_cameras, path_cameras
from tfnerf.settings import SceneSettings
from tfnerf.volume.image_renderer import Image, ImageRenderer

NUM_FRAMES = 3


@pytest.fixture
def scene() -> Scene:
    """With world axes and units of its own."""
    turn = np.array([[0, -2.0, 0, 1], [2, 0, 0, -3], [0, 0, 2, 5], [0, 0, 0, 1]])
    return dataclasses.replace(small_scene(), scene_to_world=turn)


@pytest.fixture
def renderer(scene: Scene) -> ImageRenderer:
    return ImageRenderer(small_renderer(scene), RENDERING)


@pytest.fixture
def cameras() -> Cameras:
    return Cameras.pinhole(orbit_path(NUM_FRAMES), 9, 11, 12.0)


def render(renderer: ImageRenderer, scene: Scene, cameras: Cameras, folder: Path, **other) -> None:
    arguments = {"frames_per_second": 10, **other}
    render_path(renderer, scene, cameras, folder, **arguments)


def times(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*.png")
    }


def test_every_frame_has_its_pictures_and_videos_have_all_frames(
    renderer: ImageRenderer, scene: Scene, cameras: Cameras, tmp_path: Path
) -> None:
    render(renderer, scene, cameras, tmp_path)
    expected = {f"{kind}/{index:04d}.png" for kind in KINDS for index in range(NUM_FRAMES)}
    assert times(tmp_path).keys() == expected
    for index in range(NUM_FRAMES):
        image = renderer(cameras, index)
        saved = imageio.imread(tmp_path / "rgb" / f"{index:04d}.png")
        np.testing.assert_array_equal(saved, np.rint(255 * np.clip(image.rgb, 0, 1)))
        alpha = imageio.imread(tmp_path / "rgba" / f"{index:04d}.png")[..., 3]
        np.testing.assert_array_equal(alpha, np.rint(255 * np.clip(image.opacity, 0, 1)))
    for kind in ("rgb", "depth", "disparity"):
        video = imageio.imread(tmp_path / f"{kind}.mp4", plugin="pyav")
        assert video.shape == (NUM_FRAMES, 10, 12, 3)


def test_frames_that_are_there_are_kept_unless_they_show_something_else(
    renderer: ImageRenderer, scene: Scene, cameras: Cameras, tmp_path: Path
) -> None:
    render(renderer, scene, cameras, tmp_path)
    before = times(tmp_path)
    (tmp_path / "depth" / "0001.png").unlink()
    render(renderer, scene, cameras, tmp_path)
    after = times(tmp_path)
    assert {name for name in before if before[name] != after[name]} == {
        f"{kind}/0001.png" for kind in KINDS
    }
    other = ImageRenderer(small_renderer(scene), RENDERING)  # of other weights
    for shown, frozen in ((other, False), (other, True), (renderer, True)):
        before = times(tmp_path)
        render(shown, scene, cameras, tmp_path, frozen_camera=frozen)
        assert not set(before.items()) & set(times(tmp_path).items())
    render(renderer, scene, cameras[:2], tmp_path)
    assert len(times(tmp_path)) == 2 * len(KINDS)


def test_a_frozen_camera_shows_the_colours_of_other_directions(
    renderer: ImageRenderer, scene: Scene, cameras: Cameras
) -> None:
    seen = renderer(cameras, 0, viewdirs_of=1)
    first = renderer(cameras, 0)
    np.testing.assert_array_equal(seen.opacity, first.opacity)
    assert np.abs(seen.rgb - first.rgb).max() > 1e-4
    np.testing.assert_array_equal(renderer(cameras, 0, viewdirs_of=0).rgb, first.rgb)


def test_the_cameras_of_a_path_can_be_used_as_keyframes(
    renderer: ImageRenderer, scene: Scene, cameras: Cameras, tmp_path: Path
) -> None:
    render(renderer, scene, cameras, tmp_path)
    keyframes = read_keyframes(tmp_path / "path.json")
    np.testing.assert_allclose(keyframes.focal, 12 / 11)
    in_world = keyframes.poses
    positions = scene.scene_to_world @ to_4x4(cameras.camera_to_world)[:, :, 3:]
    np.testing.assert_allclose(in_world[:, :, 3:], positions[:, :3], atol=1e-5)
    rotations = in_world[:, :, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.tile(np.eye(3), [NUM_FRAMES, 1, 1]), atol=1e-5
    )


def test_a_removal_that_was_killed_does_not_block_the_next(
    renderer: ImageRenderer, scene: Scene, cameras: Cameras, tmp_path: Path
) -> None:
    render(renderer, scene, cameras, tmp_path)
    left = tmp_path / ".rgb.removed"
    left.mkdir()
    (left / "0000.png").write_text("")
    render(renderer, scene, cameras, tmp_path, frozen_camera=True)
    assert not left.exists()


def test_keyframes_that_ndc_cannot_show_are_refused(scene: Scene, tmp_path: Path) -> None:
    forward = dataclasses.replace(
        scene, ndc=NDC(12, 16, 24.0), scene_to_world=np.eye(4), bounds=(1.0, 9.0)
    )
    path = tmp_path / "keyframes.json"
    for back, sound in (([0, 0, 1], True), ([1, 0, 0.1], False), ([0, 0, -1], False)):
        end = look_along(np.array(back), np.array([0.0, 1.0, 0.0]), np.ones(3))
        frames = [{"transform_matrix": matrix.tolist()} for matrix in (np.eye(4), to_4x4(end))]
        path.write_text(json.dumps({"frames": frames}))
        if sound:
            assert len(keyframe_cameras(forward, path, 9)) == 9
        else:
            with pytest.raises(UserError, match=r"frame \d of the path looks sideways or back"):
                keyframe_cameras(forward, path, 9)
        assert len(keyframe_cameras(scene, path, 9)) == 9


@pytest.mark.parametrize("white_background", [True, False])
def test_straight_alpha_composites_to_the_colours(
    white_background: bool, rng: np.random.Generator
) -> None:
    opacity = rng.uniform(0.1, 1, [4, 5]).astype(np.float32)
    color = rng.uniform(0, 1, [4, 5, 3]).astype(np.float32)
    rgb = color * opacity[..., None] + (1 - opacity[..., None]) * white_background
    image = Image(rgb, *[opacity] * 4)
    rgba = straight_alpha(image, white_background=white_background)
    np.testing.assert_allclose(rgba[..., :3], color, atol=1e-5)
    np.testing.assert_array_equal(rgba[..., 3], opacity)


def test_depths_in_ndc_are_shown_as_distances(scene: Scene) -> None:
    """The point at depth z before the near plane n = 1 has t = 1 - 1 / z in NDC."""
    depth = np.array([1.0, 2.0, 5.0])
    np.testing.assert_array_equal(in_scene_units(depth, scene), depth)
    in_ndc = dataclasses.replace(scene, ndc=NDC(9, 11, 12.0))
    np.testing.assert_allclose(in_scene_units(1 - 1 / depth, in_ndc), depth)


def test_videos_keep_colours_and_pad_odd_sizes(tmp_path: Path) -> None:
    frames = [np.full([31, 17, 3], 20 * index, np.uint8) for index in range(10)]
    write_video(tmp_path / "video.mp4", iter(frames), 24)
    video = imageio.imread(tmp_path / "video.mp4", plugin="pyav")
    assert video.shape == (10, 32, 18, 3)
    np.testing.assert_allclose(video.mean((1, 2, 3)), 20 * np.arange(10), atol=3)
    metadata = imageio.immeta(tmp_path / "video.mp4", plugin="pyav")
    assert (metadata["codec"], metadata["fps"]) == ("h264", 24)
    with pytest.raises(UserError, match=r"nowhere/video\.mp4: cannot be written"):
        write_video(tmp_path / "nowhere" / "video.mp4", iter(frames), 24)


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], 'expected a list named "frames", at least 2 long'),
        ("many", 'expected a list named "frames", at least 2 long'),
        ([{}, {}], 'frame 0: expected an object with a "transform_matrix"'),
        ([3, 4], 'frame 0: expected an object with a "transform_matrix"'),
        ([np.eye(4), np.full([4, 4], np.nan)], "frame 1: the pose has numbers that are not finite"),
        ([np.eye(4), np.eye(5)], r"frame 1: the pose has shape \[5, 5\]"),
        ([np.diag([1, 2, 1, 1]), np.eye(4)], "frame 0: the pose is skewed"),
        ([np.diag([1, 1, -1, 1]), np.eye(4)], "frame 0: the pose is mirrored"),
    ],
)
def test_keyframes_that_are_none_are_refused(frames: object, message: str, tmp_path: Path) -> None:
    if isinstance(frames, list) and frames and isinstance(frames[0], np.ndarray):
        frames = [{"transform_matrix": matrix.tolist()} for matrix in frames]
    path = tmp_path / "keyframes.json"
    path.write_text(json.dumps({"frames": frames}))
    with pytest.raises(UserError, match=message):
        read_keyframes(path)


def test_depths_are_written_as_numbers_in_world_units(
    renderer: ImageRenderer, scene: Scene, cameras: Cameras, tmp_path: Path
) -> None:
    render(renderer, scene, cameras, tmp_path)
    render(renderer, scene, cameras, tmp_path, world_depth=True)
    per_level = json.loads((tmp_path / "path.json").read_text())["world_depth_per_level"]
    for index in range(NUM_FRAMES):
        image = renderer(cameras, index)
        depth = np.load(tmp_path / "world_depth" / f"{index:04d}.npy")
        seen = image.opacity > 0.5
        # The world of this scene has units of half a scene unit.
        np.testing.assert_allclose(depth[seen], 2 * (image.depth / image.opacity)[seen], rtol=1e-5)
        assert (depth[~seen] == 0).all()
        levels = imageio.imread(tmp_path / "world_depth" / f"{index:04d}.png")
        assert levels.dtype == np.uint16
        np.testing.assert_allclose(levels * per_level, depth, atol=0.51 * per_level)


def test_frames_too_large_for_a_video_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"a.mp4: frames of 16386 x 2 pixels, expected at most"):
        write_video(tmp_path / "a.mp4", [np.zeros([2, 16386, 3], np.uint8)], 24)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("distance", "expected"), [(4.03, 4.0), (1.2, 1.2), (20.0, 20.0)])
def test_an_orbit_of_a_blender_scene_is_where_its_cameras_are(
    distance: float, expected: float
) -> None:
    """The original's circle of radius 4 shows nothing of a scene of another size."""
    poses = np.stack([orbit_pose(azimuth, 0.5, distance) for azimuth in range(7)])
    cameras = Cameras.pinhole(poses, 12, 16, 24.0)
    scene = small_scene(7)
    views = dataclasses.replace(scene.train, cameras=cameras)
    scene = dataclasses.replace(scene, splits={"train": views})
    path = path_cameras(scene, SceneSettings(dataset="blender", data_dir="lego"), "orbit", 5)
    distances = np.linalg.norm(path.camera_to_world[:, :, 3], axis=-1)
    np.testing.assert_allclose(distances, expected, rtol=1e-4)


def test_a_keyframe_goes_before_its_file_and_pixels_before_an_angle(tmp_path: Path) -> None:
    path = tmp_path / "keyframes.json"
    frames = [{"transform_matrix": to_4x4(pose).tolist()} for pose in orbit_path(3)]
    frames[0]["fl_x"] = 400
    frames[1] |= {"fl_x": 1600, "w": 1600, "camera_angle_x": 0.1}
    path.write_text(json.dumps({"camera_angle_x": 0.7, "w": 800, "frames": frames}))
    focal = read_keyframes(path).focal
    np.testing.assert_allclose(focal, [0.5, 1.0, 0.5 / np.tan(0.35)])
    frames = [dict(frame, camera_angle_x=1.2) for frame in frames[2:] * 2]
    path.write_text(json.dumps({"fl_x": 400, "w": 800, "frames": frames}))
    np.testing.assert_allclose(read_keyframes(path).focal, 0.5 / np.tan(0.6))


def test_keyframes_may_have_fields_of_view_of_their_own(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "keyframes.json"
    frames = [
        {"transform_matrix": to_4x4(pose).tolist(), "camera_angle_x": angle}
        for pose, angle in zip(orbit_path(3), (0.4, 0.8, 1.2))
    ]
    path.write_text(json.dumps({"frames": frames}))
    cameras = keyframe_cameras(scene, path, 5)
    expected = 0.5 * cameras.width / np.tan(0.5 * np.array([0.4, 0.8, 1.2]))
    np.testing.assert_allclose(cameras.focal[::2, 0], expected, rtol=1e-5)
    assert (np.diff(cameras.focal[:, 0]) < 0).all()
    del frames[1]["camera_angle_x"]
    path.write_text(json.dumps({"frames": frames}))
    with pytest.raises(UserError, match="frame 1: has no camera_angle_x"):
        read_keyframes(path)
    for width in (-64, 0, "wide", None):
        wrong = [
            {"transform_matrix": f["transform_matrix"], "fl_x": 50, "w": width} for f in frames
        ]
        path.write_text(json.dumps({"frames": wrong}))
        with pytest.raises(UserError, match=r"frame 0: fl_x and w are 50 and .*expected positive"):
            read_keyframes(path)
    frames[1]["camera_angle_x"] = 4
    path.write_text(json.dumps({"frames": frames}))
    with pytest.raises(UserError, match="frame 1: camera_angle_x is 4, expected radians"):
        read_keyframes(path)
