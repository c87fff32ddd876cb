"""The commands after training, as a user starts them."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import trimesh
from commands import finish, run, run_all, start, wait_for
from small import small_config
from trained import STEP, make_run

from tfnerf.evaluate.metrics import psnr


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def two_runs(tmp_path: Path) -> tuple[Path, Path]:
    """The same run twice."""
    return make_run(tmp_path / "one"), make_run(tmp_path / "other")


SLOWLY = "--rays_per_chunk=8"
"""Makes rendering slow enough to be disturbed."""


def test_a_killed_evaluation_ends_as_one_that_was_not(two_runs: tuple[Path, Path]) -> None:
    one, other = two_runs
    output = run("tfnerf.evaluate", f"--run_dir={one}")
    assert f"builtin, test: 6 views, step {STEP}" in output
    assert len(files(one / "eval")) == 3 * 6 + 1

    folder = other / "eval" / "test"
    for num_pictures in (2, 7):
        process = start("tfnerf.evaluate", f"--run_dir={other}", SLOWLY)
        wait_for(lambda n=num_pictures: len(list(folder.rglob("*.png"))) >= n, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (folder / "metrics.json").exists()
    output = run("tfnerf.evaluate", f"--run_dir={other}")
    assert "test_000: PSNR" not in output and "test_005: PSNR" in output
    assert files(other / "eval") == files(one / "eval")


def test_a_killed_rendering_ends_as_one_that_was_not(two_runs: tuple[Path, Path]) -> None:
    one, other = two_runs
    arguments = ("--num_frames=5", "--resolution_factor=0.5", "--fps=10")
    run("tfnerf.render", f"--run_dir={one}", *arguments)
    assert len(files(one / "renders")) == 4 * 5 + 3 + 1

    folder = other / "renders" / "orbit_0.5x"
    for num_pictures in (2, 9):
        process = start("tfnerf.render", f"--run_dir={other}", *arguments, SLOWLY)
        wait_for(lambda n=num_pictures: len(list(folder.glob("*/*.png"))) >= n, process)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not list(folder.glob("*.mp4"))
    assert "of 5 frames are there" in run("tfnerf.render", f"--run_dir={other}", *arguments)
    found, expected = files(other / "renders"), files(one / "renders")
    assert found.keys() == expected.keys()
    for name, content in expected.items():
        if name.endswith(".mp4"):  # x264 reads memory that it has not set, so bytes may differ
            one, other = (imageio.imread(data, plugin="pyav") for data in (found[name], content))
            assert one.shape == other.shape
            assert np.abs(one.astype(float) - other).mean() < 5
        else:
            assert found[name] == content, name


def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A limit on the size of files, which writing meets as it meets a full disk."""
    folder = make_run(tmp_path / "run")
    full = {resource.RLIMIT_FSIZE: 1000}
    for module, arguments, left in (
        ("tfnerf.evaluate", [], "eval/test"),
        ("tfnerf.render", ["--num_frames=2", "--resolution_factor=0.2"], "renders/orbit_0.2x"),
        ("tfnerf.mesh", ["--resolution=8", "--density_threshold=0.01"], ""),
    ):
        process = start(module, f"--run_dir={folder}", *arguments, limits=full)
        output = finish(process, 1)
        assert output.splitlines()[-1].startswith("error: "), output
        assert "cannot be written: File too large" in output
        assert "Traceback" not in output
        for path in (folder / left).rglob("*"):
            assert not path.name.startswith(".") or "checkpoint" in str(path), path
            if path.suffix == ".png":
                imageio.imread(path)
    assert not list(folder.glob("mesh.*"))


def test_mesh_and_comparison_commands(two_runs: tuple[Path, Path]) -> None:
    one, other = two_runs
    output = run("tfnerf.mesh", f"--run_dir={one}", "--resolution=20", "--density_threshold=0.01")
    assert "triangles between" in output
    mesh = trimesh.load(one / "mesh.ply", process=False)
    assert len(mesh.faces) > 10 and np.abs(mesh.vertices).max() < 2.1

    compare = f"--compare={one},{other}"
    output = run("tfnerf.evaluate", compare, status=1)
    assert f"{one}/eval/test/metrics.json: found no evaluation" in output
    for folder in (one, other):
        run("tfnerf.evaluate", f"--run_dir={folder}")
    lines = run("tfnerf.evaluate", compare, "--table_format=csv").splitlines()
    assert lines[0].startswith("run,scene,step") and len(lines) == 3


MISTAKES: list[tuple[str, list[str], str]] = [
    ("evaluate", [], "--run_dir: not given"),
    ("evaluate", ["--run_dir=nowhere"], "--run_dir=nowhere: no such folder"),
    ("render", ["--run_dir=configs"], "--run_dir=configs: found no flags.txt"),
    ("evaluate", ["--run_dir=RUN", "--split=dev"], "--split=dev"),
    ("evaluate", ["--run_dir=RUN", "--compare=RUN"], "--run_dir and --compare: expected one"),
    ("render", ["--run_dir=RUN", "--keyframes=nowhere.json"], "nowhere.json: no such file"),
    ("render", ["--run_dir=RUN", "--keyframes=NAN"], "frame 1: the pose has numbers that are"),
    ("render", ["--run_dir=RUN", "--resolution_factor=0"], "--resolution_factor=0.0: expect"),
    ("render", ["--run_dir=RUN", "--resolution_factor=nan"], "--resolution_factor=nan: expect"),
    ("mesh", ["--run_dir=RUN", "--density_threshold=1e9"], "nothing is so dense"),
    ("mesh", ["--run_dir=RUN", "--num_samples=9"], "--num_samples: a mesh is made of densities"),
    ("mesh", ["--run_dir=RUN", "--bounds=1,2,3"], "--bounds=1,2,3: expected x0,y0,z0,x1"),
    ("mesh", ["--run_dir=RUN", "--bounds=0,0,0,1,nan,1"], "--bounds=0,0,0,1,nan,1: expected"),
    ("import_weights", ["--coarse=nowhere.npy", "--fine=other.npy"], "nowhere.npy: no such"),
    ("import_weights", ["--coarse=a.npy"], "--fine=None: found --num_fine_samples=128"),
    ("import_weights", ["--coarse=a.npy", "--sampler=grid"], "--sampler=grid: the original's"),
    ("import_weights", ["--coarse=a.npy", "--field=planes"], "--field=planes: the original's"),
    ("import_weights", [], "--coarse"),
    ("convert_config", ["nowhere.txt"], "nowhere.txt: no such file"),
]


def test_mistakes_end_in_one_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run")
    pose = np.eye(4).tolist()
    broken = [[float("nan")] * 4] * 4
    keyframes = {"frames": [{"transform_matrix": matrix} for matrix in (pose, broken)]}
    (tmp_path / "keyframes.json").write_text(json.dumps(keyframes))

    def path_of(argument: str) -> str:
        return argument.replace("RUN", str(folder)).replace("NAN", str(tmp_path / "keyframes.json"))

    before = files(folder)
    commands = [
        (f"tfnerf.{module}", [path_of(argument) for argument in arguments])
        for module, arguments, _ in MISTAKES
    ]
    for (*_, message), output in zip(MISTAKES, run_all(commands, status=1)):
        assert message in output
        assert len(output.splitlines()) == 1, output
    assert files(folder) == before


class GoldenScene:
    """The golden picture as a Blender scene, and the golden weights as a run folder.

    The first of its two test cameras is the one that stays where it is in the original's
    "static camera" case, the second the one whose view directions that case has.
    """

    def __init__(self, golden: Callable[[str], Path], folder: Path):
        self.g = g = np.load(golden("render.npz"))
        self.folder = folder / "scene"
        height, width, focal = (g[f"j_{name}"].item() for name in ("H", "W", "focal"))
        for split in ("train", "test"):
            frames = []
            for name, case in (("static", "j_static_rgb"), ("moving", "j_rgb")):
                pose = g["j_c2w_staticcam" if name == "static" else "j_c2w"]
                path = self.folder / split / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                imageio.imwrite(path, np.rint(255 * np.clip(g[case], 0, 1)).astype(np.uint8))
                matrix = [*pose.tolist(), [0, 0, 0, 1]]
                frames.append({"file_path": f"{split}/{name}", "transform_matrix": matrix})
            angle = 2 * np.arctan(width / 2 / focal)
            content = {"camera_angle_x": float(angle), "frames": frames}
            (self.folder / f"transforms_{split}.json").write_text(json.dumps(content))
        weights = golden(f"checkpoints/{g['j_checkpoint']}")
        (coarse,) = weights.glob("model_[0-9]*.npy")
        (fine,) = weights.glob("model_fine_*.npy")
        self.run = folder / "runs" / "golden"
        self.arguments = [
            f"--coarse={coarse}",
            f"--fine={fine}",
            "--dataset=blender",
            f"--data_dir={self.folder}",
            f"--output_dir={self.run.parent}",
            "--experiment=golden",
            "--white_background",
            f"--num_coarse_samples={g['j_N_samples']}",
            f"--num_fine_samples={g['j_N_importance']}",
            f"--near={g['j_near']}",
            f"--far={g['j_far']}",
        ]
        assert (height, width) == g["j_rgb"].shape[:2]

    def close(self, path: Path, case: str) -> None:
        """Asserts that a PNG holds the golden pixels, where rounding does not move them."""
        picture = imageio.imread(path)[..., :3].astype(float)
        stable = self.g[f"j_{case}stable"] == 1
        error = np.abs(picture - 255 * np.clip(self.g[f"j_{case}rgb"], 0, 1))
        assert error[stable].max() < 1.1
        assert error.max() < 0.05 * 255


def test_golden_weights_render_golden_pixels_through_the_commands(
    golden: Callable[[str], Path], tmp_path: Path
) -> None:
    scene = GoldenScene(golden, tmp_path)
    run("tfnerf.import_weights", *scene.arguments)
    assert "found a run there" in run("tfnerf.import_weights", *scene.arguments, status=1)

    run("tfnerf.evaluate", f"--run_dir={scene.run}")
    test = scene.run / "eval" / "test"
    scene.close(test / "moving.png", "")
    metrics = json.loads((test / "metrics.json").read_text())
    moving = {view["name"]: view for view in metrics["views"]}["moving"]
    assert moving["psnr"] > 45

    run("tfnerf.render", f"--run_dir={scene.run}", "--camera_path=test")
    scene.close(scene.run / "renders" / "test" / "rgb" / "0001.png", "")
    run("tfnerf.render", f"--run_dir={scene.run}", "--camera_path=test", "--frozen_camera")
    frozen = scene.run / "renders" / "test_frozen" / "rgb"
    scene.close(frozen / "0001.png", "static_")
    one, other = (imageio.imread(frozen / f"000{index}.png") / 255 for index in range(2))
    assert psnr(one, other) < 60

    run("tfnerf.mesh", f"--run_dir={scene.run}", "--resolution=16", "--density_threshold=1")
    longer = [f"--flagfile={scene.run / 'flags.txt'}", "--num_steps=12", "--eval_every=0"]
    output = run("tfnerf.train", *longer, "--batch_size=8", status=1)
    assert "--batch_size=8: the run in" in output


def test_a_converted_config_goes_with_weights_without_view_directions(
    golden: Callable[[str], Path], tmp_path: Path
) -> None:
    scene = GoldenScene(golden, tmp_path)
    (tmp_path / "config.txt").write_text("dataset_type = blender\nnetwidth = 64\nN_importance = 8")
    (tmp_path / "flags.txt").write_text(run("tfnerf.convert_config", str(tmp_path / "config.txt")))
    fine = other_weights(golden)
    coarse = fine.with_name(fine.name.replace("fine_", ""))
    arguments = [f"--flagfile={tmp_path / 'flags.txt'}", f"--data_dir={scene.folder}"]
    arguments += [f"--output_dir={tmp_path}", "--experiment=run", "--test_skip=1"]
    run("tfnerf.import_weights", f"--coarse={coarse}", f"--fine={fine}", *arguments)
    assert "trained without view directions" in run(
        "tfnerf.render", f"--run_dir={tmp_path / 'run'}", "--frozen_camera", status=1
    )


def test_inspect_reads_formats_by_itself(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    picture = tmp_path / "inspect.png"
    fox = real_data("instant_ngp_fox")
    arguments = [f"--picture={picture}", "--holdout_every=5"]
    output = run("tfnerf.inspect", f"--data_dir={fox}", "--factor=6", *arguments)
    assert f"{fox}, read as --dataset=transforms:" in output and "10 views held out" in output
    assert imageio.imread(picture).std() > 10
    assert "no doubts" in output


def test_weights_of_another_shape_are_refused(
    golden: Callable[[str], Path], tmp_path: Path
) -> None:
    scene = GoldenScene(golden, tmp_path)
    for change, message in (
        (["--net_width=32"], "--net_width=32: found 64 in"),
        (["--direction_frequencies=7"], "--direction_frequencies=7: found 4 in"),
        ([f"--fine={other_weights(golden)}"], "found a network of another shape than in"),
        ([f"--fine={tmp_path / 'scene' / 'test' / 'moving.png'}"], "no weights of the original"),
    ):
        output = run("tfnerf.import_weights", *scene.arguments, *change, status=1)
        assert message in output and len(output.splitlines()) == 1
        assert not scene.run.exists()


def other_weights(golden: Callable[[str], Path]) -> Path:
    (path,) = golden("checkpoints/w64_noviewdirs").glob("model_fine_*.npy")
    return path


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    make_run(folder, small_config())
    (folder / "checkpoints").rename(tmp_path / "checkpoints")
    for module in ("evaluate", "render", "mesh"):
        output = run(f"tfnerf.{module}", f"--run_dir={folder}", status=1)
        assert (
            output == f"error: {folder}/checkpoints: found no checkpoint, expected a trained run\n"
        )
        assert {path.name for path in folder.iterdir()} == {"flags.txt"}
