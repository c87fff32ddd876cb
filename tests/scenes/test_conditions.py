"""Times and lights of views: read, refused, warned of; and those of the built-in scene."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_scene_under

from tfnerf.errors import UserError
from tfnerf.scenes import Views, load_scene
from tfnerf.scenes.conditions import read_conditions
from tfnerf.scenes.solids import signed_distance, solids_at
from tfnerf.settings import SceneSettings

PATH = Path("transforms_train.json")
MOVING = SceneSettings(time_model="deform")
LIT = SceneSettings(relightable=True)


def frames(key: str, *values: Any) -> list[dict[str, Any]]:
    """One for each value; no key where it is None."""
    return [
        {"file_path": f"r_{index}", **({} if value is None else {key: value})}
        for index, value in enumerate(values)
    ]


def test_frames_say_their_times_and_lights() -> None:
    found = read_conditions(frames("time", 0, 0.25, 1.0), MOVING, PATH)
    assert found is not None and list(found) == ["time"]
    np.testing.assert_array_equal(found["time"], np.float32([0, 0.25, 1]))
    found = read_conditions(frames("pl_pos", [1, 2, 3], [0, 0, 4.5]), LIT, PATH)
    assert found is not None and list(found) == ["light"]
    np.testing.assert_array_equal(found["light"], np.float32([[1, 2, 3], [0, 0, 4.5]]))
    found = read_conditions(frames("light_direction", [0, 3, 4], [0, 0, 0.1]), LIT, PATH)
    assert found is not None  # lamps far away
    np.testing.assert_allclose(found["light"], [[0, 600, 800], [0, 0, 1000]], rtol=1e-6)


@pytest.mark.parametrize(
    "value", [None, -0.1, 1.001, float("nan"), float("inf"), "0.5", [0.5], True, 10**400]
)
def test_a_time_that_is_none_is_refused_by_the_name_of_its_frame(value: Any) -> None:
    expected = r"transforms_train\.json: r_1: time is .*expected a number from 0 to 1"
    with pytest.raises(UserError, match=expected):
        read_conditions(frames("time", 0.5, value), MOVING, PATH)


@pytest.mark.parametrize(
    "value", [None, [0, 0, 0], [1, 2], [1, 2, float("nan")], "1,2,3", [1, 2, "3"], 7]
)
def test_a_light_that_is_none_is_refused_by_the_name_of_its_frame(value: Any) -> None:
    expected = r"transforms_train\.json: r_1: pl_pos is .*expected three numbers"
    with pytest.raises(UserError, match=expected):
        read_conditions(frames("pl_pos", [1, 2, 3], value), LIT, PATH)


def test_what_the_scene_should_have_and_no_frame_says_is_refused() -> None:
    with pytest.raises(UserError, match=r"--time_model=deform: .* says no time"):
        read_conditions(frames("pl_pos", [1, 2, 3]), MOVING, PATH)
    with pytest.raises(UserError, match=r"--relightable: transforms_train\.json says no light"):
        read_conditions(frames("time", 0.5), LIT, PATH)


def test_a_lamp_is_near_or_far() -> None:
    (frame,) = frames("pl_pos", [1, 2, 3])
    with pytest.raises(UserError, match="r_0: has pl_pos and light_direction, expected one"):
        read_conditions([{**frame, "light_direction": [0, 0, 1]}], LIT, PATH)


@pytest.mark.parametrize("dataset", ["llff", "deepvoxels", "tiny_nerf"])
def test_formats_that_say_no_times_are_refused(dataset: str) -> None:
    with pytest.raises(UserError, match="--time_model: means something for --dataset=blender or"):
        SceneSettings(dataset=dataset, data_dir="x", time_model="deform")


def test_views_beyond_those_of_training_are_known_as_such() -> None:
    scene = small_scene_under("time")
    train = scene.train
    times = train.cameras.under({"time": np.float32([0.2, 0.4, 0.6, 0.8])})
    scene = dataclasses.replace(
        scene, splits={"train": dataclasses.replace(train, cameras=times), "test": train}
    )
    assert scene.known_views(train).names == ("view_1", "view_2")


def test_what_frames_say_and_is_not_used_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert read_conditions(frames("time", 0.0, 1.0), SceneSettings(), PATH) is None
    assert "the time of each view has no effect without --time_model=deform" in caplog.text


def built_in(**changes: bool) -> Views:
    uses = {
        "time_model": "deform" if changes.get("builtin_motion") else "none",
        "relightable": bool(changes.get("builtin_lights")),
    }
    settings = SceneSettings(dataset="builtin", **changes, **uses)
    return load_scene(settings, ("val",)).splits["val"]


def test_the_scene_that_does_not_move_shows_what_it_always_did() -> None:
    views = built_in()
    checksum = hashlib.sha256(views.images.tobytes()).hexdigest()
    assert checksum[:16] == "90ea1925f5087779"
    assert views.cameras.conditions is None


def test_the_scene_moves_with_the_times_of_its_views() -> None:
    views = built_in(builtin_motion=True)
    assert views.cameras.conditions is not None
    times = views.cameras.conditions["time"]
    assert len(set(times.tolist())) == len(views) and 0 < times.min() < times.max() < 1
    again = built_in(builtin_motion=True)
    np.testing.assert_array_equal(views.images, again.images)
    # Where the sphere is at its highest, and where it stands at first.
    high, low = np.array([[-0.45, 0.45, 0.8]]), np.array([[-0.45, 0.45, -0.3]])
    for time, is_up in ((0.0, False), (0.5, True), (1.0, False)):
        solids = solids_at(time)
        assert (signed_distance(high, solids)[0] < 0) == is_up
        assert (signed_distance(low, solids)[0] < 0) == (not is_up)


def test_each_view_has_a_light_that_casts_shadows() -> None:
    """The plate is darker where a solid is between it and the light."""
    views = built_in(builtin_lights=True)
    assert views.cameras.conditions is not None
    lights = views.cameras.conditions["light"]
    np.testing.assert_allclose(np.linalg.norm(lights, axis=-1), 5, rtol=1e-5)
    assert lights[:, 2].min() > 1.5 and len(np.unique(lights[:, 0])) == len(views)
    plain = built_in(builtin_motion=True)  # lit by the sun, without shadows
    dark = [(image[image[..., 3] == 255][:, :3].max(-1) < 75).mean() for image in views.images]
    bright = [(image[image[..., 3] == 255][:, :3].max(-1) < 75).mean() for image in plain.images]
    assert np.mean(dark) > 2 * np.mean(bright)


def test_each_view_has_a_tint_that_changes_nothing_else() -> None:
    tinted, plain = built_in(builtin_tints=True), built_in(builtin_motion=True)
    np.testing.assert_array_equal(tinted.cameras.camera_to_world, plain.cameras.camera_to_world)
    opaque = tinted.images[..., 3] == 255
    colors = [image[mask][:, :3].mean(0) for image, mask in zip(tinted.images, opaque)]
    ratios = np.array(colors) / np.mean(colors, axis=0)
    assert ratios.std(axis=0).min() > 0.1
    assert tinted.cameras.conditions is None


def test_the_built_in_scene_has_as_many_training_views_as_are_asked_for() -> None:
    usual = load_scene(SceneSettings(dataset="builtin"), ("train", "val"))
    for count in (2, 62):
        settings = SceneSettings(dataset="builtin", builtin_views=count)
        scene = load_scene(settings, ("train", "val", "test"))
        assert len(scene.train) == count
        np.testing.assert_array_equal(scene.splits["val"].images, usual.splits["val"].images)
        poses = np.concatenate([views.cameras.camera_to_world for views in scene.splits.values()])
        assert len(np.unique(poses, axis=0)) == count + 12
