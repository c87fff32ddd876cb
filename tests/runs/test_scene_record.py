"""scene.json: what a run was trained on, and whether it is still the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import small_config, small_scene

from tfnerf.errors import UserError
from tfnerf.geometry.cameras import NDC
from tfnerf.geometry.poses import to_4x4
from tfnerf.runs.begin import begin_run
from tfnerf.runs.folder import RunFolder
from tfnerf.runs.scene_record import (
    check_same,
    read_record,
    warn_of_new_rules,
    with_axes_of_run,
    write_record,
)
from tfnerf.scenes import Scene, Views, some_pixels
from tfnerf.settings import SceneSettings


def with_views(scene: Scene, change: Callable[[Views], Views]) -> Scene:
    return dataclasses.replace(scene, splits={**scene.splits, "train": change(scene.train)})


def replaced(views: Views, **values: Any) -> Views:
    return dataclasses.replace(views, **values)


def moved(views: Views, **values: Any) -> Views:
    return replaced(views, cameras=dataclasses.replace(views.cameras, **values))


@pytest.fixture
def scene() -> Scene:
    rng = np.random.default_rng(0)
    plain = dataclasses.replace(
        small_scene(),
        ndc=NDC(8, 10, 12.5),
        bounds=(1.5, 7.0),
        scene_to_world=np.diag([2.0, 2.0, 2.0, 1.0]),
    )
    return with_views(
        plain, lambda v: moved(v, distortion=rng.normal(size=[len(v), 4]).astype(np.float32))
    )


def test_a_record_holds_the_scene_but_for_its_photographs(tmp_path: Path, scene: Scene) -> None:
    write_record(tmp_path / "scene.json", scene)
    read = read_record(tmp_path / "scene.json")
    for name in ("name", "near", "far", "bounds", "ndc", "white_background", "pixel_centers"):
        assert getattr(read, name) == getattr(scene, name)
    np.testing.assert_array_equal(read.scene_to_world, scene.scene_to_world)
    assert read.splits.keys() == scene.splits.keys()
    for split, views in scene.splits.items():
        assert len(read.splits[split]) == len(views)
        assert not read.splits[split].has_images
        if len(views):
            rays, none = some_pixels(read, read.splits[split], 50)
            expected, colors = some_pixels(scene, views, 50)
            assert none is None and colors is not None
            for one, other in zip(rays[:3], expected[:3]):
                np.testing.assert_array_equal(one, other)
    check_same(scene, tmp_path / "scene.json", "here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.select(range(1, len(v))), "train view .* is gone"),
        (lambda v: replaced(v, names=("new", *v.names[1:])), "train view .* is gone"),
        (lambda v: v.select([1, 0, *range(2, len(v))]), "train views are in another order"),
        (lambda v: moved(v, width=v.cameras.width + 1), "pixels, had"),
        (lambda v: moved(v, focal=v.cameras.focal * 1.01), "has another focal"),
        (lambda v: moved(v, lens="fisheye"), "are fisheye, were perspective"),
        (
            lambda v: replaced(v, images=v.images + (np.arange(len(v)) == 1)[:, None, None, None]),
            "has other pixels",
        ),
    ],
)
def test_other_views_are_refused_by_name(
    tmp_path: Path, scene: Scene, change: Callable[[Views], Views], message: str
) -> None:
    write_record(tmp_path / "scene.json", scene)
    with pytest.raises(UserError, match=f"--data_dir=here: not what .*{message}"):
        check_same(with_views(scene, change), tmp_path / "scene.json", "here")


def test_views_that_were_not_there_are_refused(tmp_path: Path, scene: Scene) -> None:
    write_record(tmp_path / "scene.json", with_views(scene, lambda v: v.select([0])))
    with pytest.raises(UserError, match="was not there"):
        check_same(scene, tmp_path / "scene.json", "here")


@pytest.mark.parametrize(
    "values", [{"near": 0.1}, {"ndc": None}, {"scene_to_world": np.diag([3.0, 3, 3, 1])}]
)
def test_another_normalisation_is_refused(
    tmp_path: Path, scene: Scene, values: dict[str, Any]
) -> None:
    write_record(tmp_path / "scene.json", scene)
    with pytest.raises(UserError, match=f"{next(iter(values))} is .*, was "):
        check_same(dataclasses.replace(scene, **values), tmp_path / "scene.json", "here")


@pytest.mark.parametrize("text", ["", "{}", '{"name": 1, "splits": []}', "[]"])
def test_damaged_records_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "scene.json").write_text(text)
    with pytest.raises(UserError, match=r"scene\.json"):
        read_record(tmp_path / "scene.json")


def begun(folder: Path, scene: Scene, data_dir: str, saved: bool = True) -> RunFolder:
    config = small_config(output_dir=str(folder), experiment="run", data_dir=data_dir,
                          dataset="blender", ndc=False)  # fmt: skip
    run = RunFolder.of(config)
    begin_run(config, run, scene)
    run._lock.close()  # as at the end of a process
    if saved:
        (run.checkpoints / "step_00000001").mkdir(parents=True, exist_ok=True)
    return run


def test_data_may_move_while_they_are_the_same(tmp_path: Path, scene: Scene) -> None:
    run = begun(tmp_path, scene, "/here")
    begun(tmp_path, scene, "/there")
    assert "--data_dir=/there" in run.flags.read_text()
    other = with_views(scene, lambda v: replaced(v, images=v.images ^ 1))
    with pytest.raises(UserError, match=r"--data_dir=/other: not what .* has other pixels"):
        begun(tmp_path, other, "/other")
    assert "--data_dir=/there" in run.flags.read_text()


def test_a_run_that_goes_on_has_a_folder_for_pictures(tmp_path: Path, scene: Scene) -> None:
    run = begun(tmp_path, scene, "/here")
    run.renders.rmdir()
    begun(tmp_path, scene, "/here")
    assert run.renders.is_dir()


@pytest.mark.parametrize("angle", [0.6, 1e-3, 1e-6, 1e-8, 0.0])
@pytest.mark.parametrize("saved", [True, False])
def test_a_run_keeps_the_axes_that_it_began_with(
    tmp_path: Path, scene: Scene, saved: bool, angle: float
) -> None:
    """As a version that turns captures otherwise reads the same data."""
    run = begun(tmp_path, scene, "/here", saved)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    splits = {
        name: moved(views, camera_to_world=(turn @ to_4x4(views.cameras.camera_to_world))[:, :3])
        for name, views in scene.splits.items()
    }
    turned = dataclasses.replace(scene, splits=splits, scene_to_world=scene.scene_to_world @ turn.T)
    found = with_axes_of_run(turned, run)
    if saved:
        begun(tmp_path, found, "/there")
    else:  # it has trained nothing that it would have to keep
        assert found is turned
    shifted = dataclasses.replace(scene, scene_to_world=scene.scene_to_world + np.eye(4, k=3))
    assert with_axes_of_run(shifted, run) is shifted


def test_data_of_runs_without_a_record_may_not_move(tmp_path: Path, scene: Scene) -> None:
    run = begun(tmp_path, scene, "/here")
    run.scene.unlink()
    with pytest.raises(UserError, match=r"began with --data_dir=/here, and has no scene\.json"):
        begun(tmp_path, scene, "/there")
    begun(tmp_path, scene, "/here")
    assert run.scene.is_file()


def test_captures_of_runs_without_a_record_are_read_with_a_warning(
    tmp_path: Path, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for dataset, is_warned in (("blender", False), ("transforms", True)):
        warn_of_new_rules(SceneSettings(dataset=dataset, data_dir="x"), RunFolder(tmp_path))
        assert ("masks, train_filenames" in caplog.text) == is_warned


def test_before_the_first_checkpoint_any_scene_will_do(tmp_path: Path, scene: Scene) -> None:
    begun(tmp_path, scene, "/here", saved=False)
    other = with_views(scene, lambda v: v.select([0, 1]))
    run = begun(tmp_path, other, "/there", saved=False)
    assert len(read_record(run.scene).train) == 2
