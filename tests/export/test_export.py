"""Exported models, loaded as TF Serving loads them."""

from __future__ import annotations

import dataclasses
import io
import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import keras
import numpy as np
import pytest
import tensorflow as tf
from commands import ROOT, run, start, wait_for
from small import RENDERING, small_config, small_model, small_renderer, small_scene
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2
from trained import make_run

from export.check import check_version, render_in_process, to_world
from export.exporting import export
from export.served_scene import ServedScene
from export.versions import new_version, next_version, remove_old_versions
from export.warm_up import write_warm_up
from serving.server.servable import Servable
from serving.version_folders import list_versions
from tfnerf.errors import UserError
from tfnerf.fields.model import NeRF
from tfnerf.geometry.cameras import NDC, Rays
from tfnerf.geometry.paths import orbit_path
from tfnerf.geometry.poses import look_along, to_4x4
from tfnerf.runs.trained import TrainedRun
from tfnerf.scenes import Scene
from tfnerf.volume.scene_renderer import SceneRenderer

SETTINGS = dataclasses.replace(RENDERING, rays_per_chunk=1000)


def own_world() -> np.ndarray:
    """World units half as long as scene units, with axes and an origin of their own."""
    turn = look_along(np.array([1.0, 2.0, 0.5]), np.array([0.0, 0.0, 1.0]), np.array([3, 1, -2]))
    return to_4x4(turn) @ np.diag([0.5, 0.5, 0.5, 1])


def scene_of(kind: str) -> Scene:
    scene = small_scene()
    if kind == "blender":
        return scene
    scene = dataclasses.replace(scene, scene_to_world=own_world())
    if kind == "moved":
        return scene
    ndc = NDC(scene.train.cameras.height, scene.train.cameras.width, 24.0)
    return dataclasses.replace(scene, ndc=ndc, near=0.0, far=1.0, bounds=(1.5, 30.0))


def model_of(**changes: object) -> NeRF:
    keras.utils.set_random_seed(5)
    return small_model(**changes)


def renderer_of(scene: Scene, **changes: object) -> SceneRenderer:
    return small_renderer(scene, model_of(**changes), **changes)


def save(folder: Path, renderer: SceneRenderer, scene: Scene) -> Path:
    served = ServedScene(renderer, scene, SETTINGS, tf.float32, json.dumps({"name": "disc"}))
    tf.saved_model.save(served, str(folder), signatures=served.signatures())
    return folder


@pytest.fixture(scope="module", params=["blender", "moved", "ndc"])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Servable, SceneRenderer, Scene]:
    """A loaded version, and what it was made of."""
    scene = scene_of(request.param)
    renderer = renderer_of(scene)
    path = save(tmp_path_factory.mktemp("model") / "1", renderer, scene)
    return Servable(path), renderer, scene


def rays_of(scene: Scene, count: int) -> Rays:
    """Rays in scene coordinates, in front of the camera for NDC."""
    rng = np.random.default_rng(count)
    if scene.ndc is not None:
        origins = rng.normal(0, 0.2, [count, 3])
        directions = np.concatenate([rng.normal(0, 0.3, [count, 2]), -np.ones([count, 1])], 1)
    else:
        origins = rng.normal([0, 0, 4], 0.2, [count, 3])
        directions = rng.normal([0, 0, -1], 0.2, [count, 3])
    directions = tf.constant(directions, tf.float32)
    viewdirs = directions / tf.norm(directions, axis=-1, keepdims=True)
    return Rays(tf.constant(origins, tf.float32), directions, viewdirs)


def in_process(renderer: SceneRenderer, scene: Scene, rays: Rays) -> dict[str, np.ndarray]:
    parts = [
        render_in_process(renderer, scene, Rays(*(part[i : i + 1000] for part in rays[:3])))
        for i in range(0, len(rays.origins), 1000)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def inputs_of(scene: Scene, rays: Rays) -> dict[str, np.ndarray]:
    origins, directions = to_world(scene, rays)
    return {"origins": origins, "directions": directions}


@pytest.mark.parametrize("count", [1, 7, 4096, 70_000])
def test_exported_equals_in_process(exported: tuple, count: int) -> None:
    servable, renderer, scene = exported
    rays = rays_of(scene, count)
    answer = servable.run("serving_default", inputs_of(scene, rays))
    expected = in_process(renderer, scene, rays)
    # Where a ray meets next to nothing, disparity is one rounding error divided by another.
    for values in (answer, expected):
        values["disparity"] = values["disparity"] * values["opacity"]
    for name, values in expected.items():
        assert answer[name].dtype == np.float32
        error = np.abs(answer[name] - values).reshape(count, -1).max(-1)
        error /= max(1, values.max())
        # Where a sample is at the edge of a bin rounding moves it: few rays, and not far (the
        # golden set allows such rays 5e-2). How many differs between processors.
        assert (error > 1e-5).mean() <= 0.005, np.sort(error)[-5:]
        assert error.max() < 5e-2


def test_depths_count_in_lengths_of_world_directions(exported: tuple) -> None:
    servable, _, scene = exported
    answer = servable.run("serving_default", inputs_of(scene, rays_of(scene, 500)))
    if scene.ndc is not None:
        assert answer["depth"].max() <= 1.001
        return
    scale = np.cbrt(np.linalg.det(scene.scene_to_world[:3, :3]))
    seen = answer["opacity"] > 0.1
    depth = answer["depth"][seen] / answer["opacity"][seen]
    assert seen.any() and depth.min() > 0.99 * scale * scene.near
    assert depth.max() < 1.01 * scale * scene.far
    np.testing.assert_allclose(answer["disparity"][seen], 1 / depth, rtol=1e-3)


def test_no_rays_are_answered_with_none(exported: tuple) -> None:
    servable, _, _ = exported
    empty = np.zeros([0, 3], np.float32)
    answer = servable.run("serving_default", {"origins": empty, "directions": empty})
    assert {name: value.shape for name, value in answer.items()} == {
        "rgb": (0, 3),
        "depth": (0,),
        "disparity": (0,),
        "opacity": (0,),
        "world_depth": (0,),
    }


def test_requests_may_be_concatenated_padded_and_split(exported: tuple) -> None:
    """What TF Serving's batching does must not change an answer."""
    servable, _, scene = exported
    inputs = inputs_of(scene, rays_of(scene, 2500))
    parts = [slice(0, 3), slice(3, 1204), slice(1204, 2500)]
    alone = [
        servable.run("serving_default", {name: value[part] for name, value in inputs.items()})
        for part in parts
    ]
    padded = {
        name: np.concatenate([value, value[:1].repeat(60, 0)]) for name, value in inputs.items()
    }
    together = servable.run("serving_default", padded)
    for part, answer in zip(parts, alone):
        for name, value in answer.items():
            error = np.abs(together[name][part] - value) / np.maximum(1, np.abs(value))
            assert (error > 1e-5).mean() <= 0.002 and error.max() < 2e-3, name
    again = servable.run("serving_default", padded)
    for name, value in together.items():
        np.testing.assert_array_equal(again[name], value)


def test_points_equal_in_process(exported: tuple) -> None:
    servable, renderer, scene = exported
    rays = rays_of(scene, 3000)
    middle = rays.origins + rays.directions * 2
    points, viewdirs = to_world(scene, Rays(middle, 3 * rays.directions, rays.viewdirs))
    answer = servable.run("query_points", {"points": points, "viewdirs": viewdirs})
    rgb, density = renderer.query(middle, rays.viewdirs)
    np.testing.assert_allclose(answer["rgb"], rgb, atol=2e-5)
    # Per world unit; NDC has units of its own.
    scale = 1 if scene.ndc is not None else np.cbrt(np.linalg.det(scene.scene_to_world[:3, :3]))
    np.testing.assert_allclose(answer["density"], density / scale, atol=2e-4)


def test_pictures_of_different_sizes_equal_their_rays(exported: tuple) -> None:
    servable, _, scene = exported
    frame = scene.scene_to_world
    scale = np.cbrt(np.linalg.det(frame[:3, :3]))
    pose = np.eye(3, 4) if scene.ndc else np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 4.0]])
    pose = (frame @ to_4x4(pose))[:3]
    pose[:, :3] /= scale
    sizes = [(5, 9), (40, 31)]
    answer = servable.run(
        "render_view",
        {
            "camera_to_world": np.tile(pose, [2, 1, 1]).astype(np.float32),
            "focal": np.float32([12, 50]),
            "height": np.int32([height for height, _ in sizes]),
            "width": np.int32([width for _, width in sizes]),
        },
    )
    for (height, width), focal, image, depth in zip(
        sizes, (12, 50), answer["image"], answer["depth"]
    ):
        row, column = np.mgrid[:height, :width].reshape(2, -1) + 0.5
        x, y = (column - width / 2) / focal, -(row - height / 2) / focal
        directions = np.stack([x, y, -np.ones_like(x)], -1) @ pose[:, :3].T
        rays = servable.run(
            "serving_default",
            {
                "origins": np.tile(pose[:, 3], [len(x), 1]).astype(np.float32),
                "directions": directions.astype(np.float32),
            },
        )
        pixels = imageio.imread(io.BytesIO(image))
        assert pixels.shape == (height, width, 3) and pixels.dtype == np.uint8
        error = np.abs(pixels.reshape(-1, 3) - 255 * rays["rgb"])
        assert error.max() < 0.6
        levels = imageio.imread(io.BytesIO(depth))
        assert levels.shape == (height, width) and levels.dtype == np.uint16
        unit = 1 if scene.ndc else scale
        near, far = unit * scene.near, unit * scene.far
        expected = rays["depth"] + (1 - rays["opacity"]) * far
        found = near + levels.ravel() / 65535 * (far - near)
        np.testing.assert_allclose(found, np.clip(expected, near, far), atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"height": [0]}, "expected height, width and focal above 0"),
        ({"width": [-3]}, "expected height, width and focal above 0"),
        ({"height": [1 << 20], "width": [1 << 20]}, "at most 16777216 pixels"),
        ({"focal": [0.0]}, "expected height, width and focal above 0"),
        ({"focal": [np.nan]}, "expected height, width and focal above 0"),
    ],
)
def test_pictures_that_cannot_be_are_refused(exported: tuple, changes: dict, message: str) -> None:
    servable, _, _ = exported
    inputs = {
        "camera_to_world": np.eye(3, 4, dtype=np.float32)[None],
        "focal": np.float32([10]),
        "height": np.int32([4]),
        "width": np.int32([4]),
    }
    inputs |= {name: np.array(value, inputs[name].dtype) for name, value in changes.items()}
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        servable.run("render_view", inputs)


def test_inputs_of_different_lengths_are_refused(exported: tuple) -> None:
    servable, _, _ = exported
    inputs = {"origins": np.ones([3, 3], np.float32), "directions": np.ones([2, 3], np.float32)}
    with pytest.raises(tf.errors.InvalidArgumentError, match="inputs of different lengths"):
        servable.run("serving_default", inputs)


def test_networks_without_view_directions_or_fine_network_are_exported(tmp_path: Path) -> None:
    scene = scene_of("moved")
    for name, changes, fine in (("a", {"use_viewdirs": False}, 8), ("b", {}, 0)):
        renderer = renderer_of(scene, num_fine_samples=fine, **changes)
        servable = Servable(save(tmp_path / name, renderer, scene))
        rays = rays_of(scene, 200)
        answer = servable.run("serving_default", inputs_of(scene, rays))
        expected = render_in_process(renderer, scene, rays)
        error = np.abs(answer["rgb"] - expected["rgb"]).max(-1)
        # As above, of fewer rays.
        assert (error > 1e-4).mean() <= 0.02 and error.max() < 5e-2


class Wrong(ServedScene):
    """Answers something else than it should."""

    def __init__(self, change: str, *arguments: Any):
        self._change = change
        super().__init__(*arguments)

    def _render_chunk(self, rays: Rays) -> dict[str, tf.Tensor]:
        found = super()._render_chunk(rays)
        if self._change == "nan":
            return found | {"rgb": found["rgb"] * float("nan")}
        if self._change in found:
            return found | {self._change: 1.01 * found[self._change]}
        return found

    def _query_chunk(self, points: tf.Tensor, viewdirs: tf.Tensor) -> dict[str, tf.Tensor]:
        found = super()._query_chunk(points, viewdirs)
        return found | ({"density": 1.01 * found["density"]} if self._change == "points" else {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nan", "serving_default: rgb differs"),
        ("depth", "serving_default: depth differs"),
        ("disparity", "serving_default: disparity differs"),
        ("points", "query_points: density differs"),
    ],
)
def test_wrong_answers_are_not_exported(tmp_path: Path, change: str, message: str) -> None:
    scene = scene_of("moved")
    renderer = renderer_of(scene)
    wrong = Wrong(change, renderer, scene, SETTINGS, tf.float32, json.dumps({"name": "disc"}))
    tf.saved_model.save(wrong, str(tmp_path / "1"), signatures=wrong.signatures())
    with pytest.raises(UserError, match=message):
        check_version(tmp_path / "1", renderer, scene, rays_of(scene, 100))


def test_no_xla_and_no_random_numbers_in_the_graph(tmp_path: Path) -> None:
    folder = save(tmp_path / "1", renderer_of(scene_of("blender")), scene_of("blender"))
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    assert not any(f.attr["_XlaMustCompile"].b for f in functions if "_XlaMustCompile" in f.attr)
    operations = {node.op for function in functions for node in function.node_def}
    assert "MatMul" in operations
    assert not [name for name in operations if "Random" in name or "PyFunc" in name]


@pytest.mark.slow
def test_saved_model_cli_runs_it(tmp_path: Path) -> None:
    folder = save(tmp_path / "1", renderer_of(scene_of("blender")), scene_of("blender"))
    tool = Path(sys.executable).with_name("saved_model_cli")
    expression = "origins=[[1.,1.,1.]];directions=[[1.,1.,1.]]"
    command = [tool, "run", "--dir", folder, "--tag_set", "serve"]
    command += ["--signature_def", "serving_default", "--input_exprs", expression]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert finished.returncode == 0, finished.stderr
    assert "Result for output key rgb" in finished.stdout


WITHOUT_XLA = """
import ctypes, pathlib, sys
import tensorflow as tf
from serving.server.servable import Servable

# What tensorflow_model_server calls when it starts.
library = pathlib.Path(tf.__file__).with_name("libtensorflow_cc.so.2")
ctypes.CDLL(str(library))._ZN10tensorflow21DisableXlaCompilationEv()
try:
    tf.function(lambda x: 2 * x, jit_compile=True)(1.0)
except tf.errors.InternalError as error:
    print(error.message.partition(" [")[0])
print(Servable(pathlib.Path(sys.argv[1])).warm_up(), "signatures ran")
"""


@pytest.mark.slow
def test_every_signature_runs_where_xla_is_disabled(tmp_path: Path) -> None:
    folder = save(tmp_path / "1", renderer_of(scene_of("blender")), scene_of("blender"))
    description = {"camera_path": {"camera_to_world": orbit_path(1)}, "focal": 20.0}
    write_warm_up(folder, "scene", scene_of("blender"), description)
    command = [sys.executable, "-c", WITHOUT_XLA, folder]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT)
    assert finished.stdout == "XLA compilation disabled\n4 signatures ran\n", finished.stderr


class RunExport:
    """What `python -m export` does, on a run of random weights."""

    def __init__(self, folder: Path):
        self.base = folder / "models" / "disc"
        self.run = TrainedRun.load(str(make_run(folder / "run")))

    def __call__(self, **options: object) -> Path:
        return export(self.run, self.base, "disc", **options).path


@pytest.fixture(scope="module")
def run_export(tmp_path_factory: pytest.TempPathFactory) -> RunExport:
    return RunExport(tmp_path_factory.mktemp("export"))


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
def test_an_exported_run_is_complete(run_export: RunExport) -> None:
    path = run_export()
    servable = Servable(path)
    assert set(servable.signatures) == {
        "serving_default",
        "render_view",
        "query_points",
        "describe_scene",
    }
    texts = servable.run("describe_scene", {"index": np.zeros(3, np.int32)})["scene"]
    assert len(texts) == 3
    scene = json.loads(texts[0])
    assert (scene["name"], scene["near"], scene["far"]) == ("builtin", 2.0, 6.0)
    assert (scene["width"], scene["height"], scene["step"]) == (64, 64, 7)
    assert scene["focal"] == pytest.approx(76.8)
    assert np.shape(scene["camera_path"]["camera_to_world"]) == (60, 3, 4)
    np.testing.assert_allclose(scene["target"], 0, atol=0.01)
    np.testing.assert_allclose(scene["up"], [0, 0, 1], atol=0.1)

    # Each weight once: 4 bytes a parameter, and little beside it.
    parameters = 4 * run_export.run.model.count_params()
    assert parameters < size_of(path / "variables") < parameters + 6000
    half = run_export(dtype="bfloat16")
    assert size_of(half / "variables") - parameters / 2 < 6000

    records = list(
        tf.compat.v1.io.tf_record_iterator(
            str(path / "assets.extra" / "tf_serving_warmup_requests")
        )
    )
    logs = [prediction_log_pb2.PredictionLog.FromString(record) for record in records]
    requests = [log.predict_log.request for log in logs]
    assert {request.model_spec.signature_name for request in requests} == set(servable.signatures)
    for request in requests:
        inputs = {name: tf.make_ndarray(value) for name, value in request.inputs.items()}
        servable.run(request.model_spec.signature_name, inputs)


@pytest.mark.slow
def test_fewer_samples_are_recorded_and_used(run_export: RunExport) -> None:
    servable = Servable(run_export(num_coarse_samples=4, num_fine_samples=3))
    text = servable.run("describe_scene", {"index": np.zeros(1, np.int32)})["scene"][0]
    scene = json.loads(text)
    assert (scene["num_coarse_samples"], scene["num_fine_samples"]) == (4, 3)


@pytest.mark.slow
def test_versions_are_numbered_and_never_replaced(run_export: RunExport) -> None:
    path = run_export(version=next_version(run_export.base) + 5)
    before = path.stat().st_mtime_ns
    with pytest.raises(UserError, match=r"expected a number that is free"):
        run_export(version=int(path.name))
    assert path.stat().st_mtime_ns == before
    assert int(run_export().name) == int(path.name) + 1
    assert not [entry for entry in run_export.base.iterdir() if entry.name.startswith(".")]


def test_names_that_are_no_integers_are_no_versions(tmp_path: Path) -> None:
    for name in ("1", "9", "10", "7a", ".8.123", "-3", "latest", "\u0663", str(1 << 63)):
        (tmp_path / name).mkdir()
    (tmp_path / "99").write_text("a file")
    assert [path.name for path in list_versions(tmp_path)] == ["1", "9", "10"]
    assert next_version(tmp_path) == 11
    removed = remove_old_versions(tmp_path, 2, but=tmp_path / "10")
    assert [path.name for path in removed] == ["1"]
    assert (tmp_path / "latest").is_dir()
    (tmp_path / "11").mkdir()
    assert remove_old_versions(tmp_path, 1, but=tmp_path / "9") == [tmp_path / "10"]


def test_a_version_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), new_version(tmp_path / "base", 1) as folder:
        (folder / "variables").mkdir()
        raise KeyError
    assert list((tmp_path / "base").iterdir()) == []


def test_an_export_that_answers_something_else_is_refused(tmp_path: Path) -> None:
    scene = scene_of("blender")
    path = save(tmp_path / "1", renderer_of(scene), scene)
    rays = rays_of(scene, 300)
    check_version(path, renderer_of(scene), scene, rays)
    other = small_renderer(scene)
    with pytest.raises(UserError, match="serving_default: rgb differs from the same computation"):
        check_version(path, other, scene, rays)
    (path / "variables" / "variables.index").write_bytes(b"")
    with pytest.raises(UserError, match="the export cannot be run"):
        check_version(path, renderer_of(scene), scene, rays)


def test_a_keras_model_as_an_attribute_would_be_noticed(tmp_path: Path) -> None:
    """The trap that passes tf.saved_model.load: the loader that servers use refuses it."""

    class Naive(tf.Module):
        def __init__(self, model: NeRF):
            super().__init__()
            self.model = model

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, 3], tf.float32, "origins"),
                tf.TensorSpec([None, 3], tf.float32, "directions"),
            ]
        )
        def render(self, origins: tf.Tensor, directions: tf.Tensor) -> dict[str, tf.Tensor]:
            rgb, density = self.model.final.radiance(origins, directions)
            return {"rgb": rgb, "opacity": density}

    scene, naive = scene_of("blender"), Naive(model_of())
    tf.saved_model.save(naive, str(tmp_path / "1"), signatures=naive.render)
    rays = rays_of(scene, 9)
    loaded = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    assert loaded(origins=rays.origins, directions=rays.directions)["rgb"].shape == (9, 3)
    with pytest.raises(UserError, match=r"the export cannot be run: .*variable"):
        check_version(tmp_path / "1", renderer_of(scene), scene, rays)


@pytest.mark.slow
def test_a_killed_export_is_never_seen(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    base = tmp_path / "models" / "disc"
    arguments = [f"--run_dir={folder}", f"--model_base_path={base}"]
    process = start("export", *arguments)
    wait_for(lambda: list(base.glob(".*/saved_model.pb")) != [], process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list_versions(base) == []
    output = run("export", *arguments)
    assert [path.name for path in base.iterdir()] == ["1"]
    assert "PSNR" in output and len(output.splitlines()) == 1


def test_what_killed_exports_and_removals_left_is_removed(tmp_path: Path) -> None:
    for name in (".7.unfinished", ".1.removed", "..7.unfinished.removed"):
        (tmp_path / name / "variables").mkdir(parents=True)
    with new_version(tmp_path, 3):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["3"]


def test_hidden_files_of_others_are_left_alone(tmp_path: Path) -> None:
    """The folder of versions may be anyone's home."""
    others = [".env.1", "notes/.todo.2024", ".my.removed/a", ".my.unfinished/b", ".7Xremoved/c"]
    for name in others:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("precious")
    with new_version(tmp_path, 3):
        pass
    remove_old_versions(tmp_path, 2, but=tmp_path / "3")
    assert all((tmp_path / name).read_text() == "precious" for name in others)


def test_a_link_to_a_version_is_removed_and_not_followed(tmp_path: Path) -> None:
    for name in ("elsewhere", "base/2", "base/3"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "base" / "1").symlink_to(tmp_path / "elsewhere")
    remove_old_versions(tmp_path / "base", 2, but=tmp_path / "base" / "3")
    assert sorted(path.name for path in (tmp_path / "base").iterdir()) == ["2", "3"]
    assert (tmp_path / "elsewhere").is_dir()


def test_two_exports_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with (
        new_version(tmp_path, 1),
        pytest.raises(UserError, match="another process is writing to it"),
        new_version(tmp_path, 2),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["moved", "ndc"])
def test_a_sharp_scene_in_a_world_of_its_own_is_exported(tmp_path: Path, kind: str) -> None:
    # Coordinates are rounded on the way from the world, and sharp scenes feel it: the samples of
    # many rays move. That is no fault of the export.
    scene = scene_of(kind)
    renderer = renderer_of(scene, position_frequencies=10)
    renderer.model.set_weights([4 * weight for weight in renderer.model.get_weights()])
    path = save(tmp_path / "1", renderer, scene)
    check_version(path, renderer, scene, rays_of(scene, 500))


def test_a_world_too_far_for_32_bits_is_not_exported(tmp_path: Path) -> None:
    """Map coordinates are in the millions, and there 32 bits tell half units apart."""
    matrix = np.eye(4)
    matrix[:3, 3] = 5e6
    scene = dataclasses.replace(scene_of("blender"), scene_to_world=matrix)
    renderer = renderer_of(scene)
    path = save(tmp_path / "1", renderer, scene)
    with pytest.raises(UserError, match=r"32 bits tell apart by 0\.5 scene units"):
        check_version(path, renderer, scene, rays_of(scene, 100))


@pytest.mark.slow
def test_what_was_trained_in_mixed_precision_is_served_in_float32(tmp_path: Path) -> None:
    """Eager and in a graph bfloat16 is rounded at different places, and answers would differ."""
    config = small_config(mixed_precision=True)
    model = small_model()
    run = TrainedRun.load(str(make_run(tmp_path / "run", config, model)))
    servable = Servable(export(run, tmp_path / "model", "disc").path)
    rays, scene = rays_of(run.scene(), 500), run.scene()
    answer = servable.run("serving_default", inputs_of(scene, rays))
    expected = render_in_process(small_renderer(scene, model), scene, rays)
    np.testing.assert_allclose(answer["rgb"], expected["rgb"], atol=1e-5)
