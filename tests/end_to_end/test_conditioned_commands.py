"""Time, light and appearance through all commands, as a user gives them."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
from commands import run, run_all, start, wait_until_serving

from tfnerf.geometry.paths import orbit_pose
from tfnerf.geometry.poses import to_4x4

pytestmark = pytest.mark.slow
TIMES = {"train": [0.2, 0.4, 0.6, 0.8], "test": [0.5, 0.9]}
TRAINING = [
    *("--field=planes", "--first_plane_resolution=8", "--plane_resolution=16", "--decoder_width=8"),
    *("--num_samples=8", "--num_probes=16", "--grid_resolution=16"),
    *("--batch_size=64", "--refine_steps=6", "--num_steps=12", "--num_eval_views=1"),
    *("--white_background", "--eval_every=6"),
]
CONDITIONS = [
    "--time_model=deform",
    "--grid_times=4",
    "--relightable",
    "--shadow_hints",
    "--highlights",
    "--colors_per_ray=2",
    "--appearance_width=2",
]


def write_scene(folder: Path) -> Path:
    """Pictures with times and lamps, in the format of D-NeRF's and NRHints' scenes."""
    folder.mkdir()
    row, column = np.mgrid[:24, :32]
    for split, times in TIMES.items():
        (folder / split).mkdir()
        frames = []
        for index, time in enumerate(times):
            disc = (row - 12) ** 2 + (column - 8 - 16 * time) ** 2 < 50
            image = np.zeros([24, 32, 4], np.uint8)
            image[disc] = [200, 40 + 40 * index, 30, 255]
            imageio.imwrite(folder / split / f"r_{index}.png", image)
            pose = to_4x4(orbit_pose(index, 0.5, 4.0)[np.newaxis])[0]
            lamp = [4 * np.cos(index), 4 * np.sin(index), 3]
            frames.append(
                {
                    "file_path": f"./{split}/r_{index}",
                    "time": time,
                    "pl_pos": lamp,
                    "transform_matrix": pose.tolist(),
                }
            )
        content = {"camera_angle_x": 0.7, "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(content))
    return folder


def test_from_frames_to_served_pictures(tmp_path: Path) -> None:
    scene, runs = write_scene(tmp_path / "scene"), tmp_path / "runs"
    common = [f"--data_dir={scene}", f"--output_dir={runs}", *TRAINING]
    still, moving = (
        run("tfnerf.train", *common, f"--experiment={name}", *flags)
        for name, flags in (("still", []), ("moving", CONDITIONS))
    )
    assert "the time of each view has no effect without --time_model=deform" in still
    assert "the light of each view has no effect without --relightable" in still
    assert "held-out views, under the mean appearance: PSNR" in moving

    on_run = [f"--run_dir={runs / 'moving'}"]
    under = [*on_run, "--light=0,3,4"]
    small = ["--num_frames=3", "--resolution_factor=0.5"]
    refused = run_all(
        [
            ("tfnerf.render", under),
            ("tfnerf.mesh", under),
            ("tfnerf.render", [f"--run_dir={runs / 'still'}", "--time=0.5"]),
        ],
        status=1,
    )
    for output, message in zip(
        refused,
        (
            "--time: not given, expected a time from 0.2 to 0.8",
            "--time: not given, expected a time from 0.2 to 0.8",
            "--time=0.5: the scene was trained without",
        ),
    ):
        assert output.splitlines()[-1].startswith(f"error: {message}"), output

    still_camera = "--camera_path=still"
    done = run_all(
        [
            ("tfnerf.render", [*on_run, *small, still_camera, "--time=sweep", "--light=orbit"]),
            ("tfnerf.mesh", [*under, "--time=0.5", "--density_threshold=1e-5", "--resolution=16"]),
            ("tfnerf.evaluate", on_run),
            ("tfnerf.evaluate", [f"--run_dir={runs / 'still'}", "--right_halves"]),
            ("export", [*on_run, f"--model_base_path={tmp_path / 'model'}"]),
        ]
    )
    assert "--appearance=mean" in done[0]
    assert (runs / "moving" / "mesh_time_0.5_light_0,3,4.ply").is_file()
    assert "1 of 2 views show times or lights beyond those of the training views" in done[2]
    assert "(on some held-out pixels, under the mean appearance)" in done[4]
    assert "2, right halves views" in done[2] and "2, right halves views" in done[3]
    frames_of(runs / "moving" / "renders" / "still_time_sweep_light_orbit_0.5x")
    keyframes = runs / "moving" / "renders" / "still_time_sweep_light_orbit_0.5x" / "path.json"
    run("tfnerf.render", *on_run, *small, f"--keyframes={keyframes}")
    frames_of(runs / "moving" / "renders" / "keyframes_path_0.5x")
    served(tmp_path)


def frames_of(folder: Path) -> None:
    """Each is described with its time, its light and its appearance."""
    frames = json.loads((folder / "path.json").read_text())["frames"]
    np.testing.assert_allclose([frame["time"] for frame in frames], [0.2, 0.5, 0.8], atol=1e-3)
    lights = np.array([frame["light"] for frame in frames])
    assert lights.shape == (3, 3) and np.linalg.norm(lights[0] - lights[1]) > 1
    assert all(len(frame["appearance"]) == 2 for frame in frames)
    assert len(list((folder / "rgb").glob("*.png"))) == 3


def served(folder: Path) -> None:
    """What the client gets of the version, and what it does not."""
    server = start(
        "serving.server", "--model_name=m", f"--model_base_path={folder / 'model'}", "--port=0"
    )
    try:
        asking = [f"--server={wait_until_serving(server)}", "--model_name=m"]
        under = [*asking, "--light=0,3,4"]
        np.save(folder / "points.npy", np.zeros([3, 3], np.float32))
        points = [f"--points={folder / 'points.npy'}", f"--output={folder / 'p.npz'}"]
        picture = [f"--output={folder / 'a.png'}"]
        video = ["--light=orbit", "--num_frames=3", f"--output={folder / 'a.mp4'}"]
        described, *_ = run_all(
            [
                ("serving.client", ["describe", *asking]),
                (
                    "serving.client",
                    ["render", *under, "--time=0.3", "--appearance=r_1.png", *picture],
                ),
                ("serving.client", ["path", *asking, "--time=sweep", *video]),
                ("serving.client", ["points", *under, "--time=0.3", *points]),
            ]
        )
        conditions = json.loads(described)["conditions"]
        assert conditions["time"]["num_rows"] == 4 and conditions["light"]["shape"] == [3]
        assert set(conditions["appearance"]["named"]) == {f"r_{index}" for index in range(4)}
        (refused,) = run_all([("serving.client", ["render", *under, *picture])], status=1)
        assert refused.startswith("error: --time: not given, expected a time from 0.2 to 0.8")
    finally:
        server.kill()
        server.communicate()
