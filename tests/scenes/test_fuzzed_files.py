"""Damaged scene files of all kinds: each is a scene or is refused in one line."""

from __future__ import annotations

import copy
import io
import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest

from tfnerf.errors import UserError
from tfnerf.geometry.paths import orbit_pose
from tfnerf.geometry.poses import to_4x4
from tfnerf.scenes import load_scene
from tfnerf.settings import Dataset, SceneSettings

pytestmark = pytest.mark.slow
NUM_MUTATIONS = 500
"""Of each kind of file; there are three."""
MOST_MEGABYTES = 1000
SIZE = 12, 16
ODD_VALUES: list[Any] = [
    *(None, True, False, "", "x", "1.0", [], {}, [[]], [None], {"a": 1}, float("nan")),
    *(float("inf"), -float("inf"), 0, -1, 1e-300, 1e308, 10**400, 2**63, 0.5, "../../etc/passwd"),
    *("a" * 5000, "\0", [1, 2, 3], np.eye(4).tolist(), np.eye(3).tolist(), "OPENCV_FISHEYE"),
]


def image(value: int) -> np.ndarray:
    return np.full([*SIZE, 3], value, np.uint8)


@pytest.fixture
def transforms(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    frames = []
    for index in range(6):
        imageio.imwrite(tmp_path / "images" / f"{index}.png", image(index))
        pose = to_4x4(orbit_pose(index, 0.4, 3.0))
        frames.append(
            {
                "file_path": f"images/{index}.png",
                "transform_matrix": pose.tolist(),
                "near": 1.0,
                "far": 5.0,
                "fl_x": 20.0,
                "k1": 0.01,
            }
        )
    imageio.imwrite(tmp_path / "mask.png", np.full(SIZE, 255, np.uint8))
    frames[0]["mask_path"] = "mask.png"
    content = {
        **{"camera_model": "OPENCV", "w": SIZE[1], "h": SIZE[0], "fl_y": 21.0, "cx": 8, "cy": 6},
        **{"k2": 0.0, "p1": 0.0, "p2": 0.0, "k3": 0.0, "is_fisheye": False, "aabb_scale": 4},
        **{"camera_angle_x": 0.8, "camera_angle_y": 0.6, "test_filenames": ["images/1.png"]},
        **{"frames": frames},
    }
    (tmp_path / "transforms.json").write_text(json.dumps(content))
    return tmp_path


def places_in(content: Any, before: tuple = ()) -> list[tuple]:
    """Paths to everything in a JSON value."""
    items: Any = ()
    if isinstance(content, dict):
        items = content.items()
    elif isinstance(content, list):
        items = enumerate(content)
    found = []
    for key, value in items:
        found += [(*before, key), *places_in(value, (*before, key))]
    return found


def mutated_json(text: str, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.1:
        return text[: rng.integers(len(text))].encode()
    if rng.random() < 0.1:
        return mutated_bytes(text.encode(), rng)
    content = json.loads(text)
    for _ in range(rng.integers(1, 4)):
        places = places_in(content)
        place = places[rng.integers(len(places))]
        holder = content
        for key in place[:-1]:
            holder = holder[key]
        kind = rng.random()
        if kind < 0.2:
            del holder[place[-1]]
        elif kind < 0.3 and isinstance(holder, dict):
            holder[f"{place[-1]}_"] = holder.pop(place[-1])
        elif kind < 0.4 and isinstance(holder, list):
            holder.append(copy.deepcopy(holder[place[-1]]))
        else:
            holder[place[-1]] = copy.deepcopy(ODD_VALUES[rng.integers(len(ODD_VALUES))])
    return json.dumps(content).encode()


def mutated_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(max(len(changed), 1)))
        kind = rng.random()
        if kind < 0.25:
            del changed[place:]
        elif kind < 0.5:
            changed[place : place + 8] = rng.bytes(8)
        elif kind < 0.7:
            changed[place : place + 8] = b"\xff" * 8
        else:
            changed[place : place + 1] = rng.bytes(1)
    return bytes(changed)


def check_all(
    folder: Path,
    dataset: Dataset,
    files: list[Path],
    mutate: Callable[[bytes, np.random.Generator], bytes],
) -> None:
    good = {path: path.read_bytes() for path in files}
    settings = SceneSettings(dataset=dataset, data_dir=str(folder), holdout_every=3)
    load_scene(settings)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused = 0
    for seed in range(NUM_MUTATIONS):
        rng = np.random.default_rng(seed)
        path = files[rng.integers(len(files))]
        path.write_bytes(mutate(good[path], rng))
        try:
            scene = load_scene(settings)
            cameras = scene.train.cameras
            assert np.isfinite(cameras.camera_to_world).all(), seed
            assert np.isfinite(cameras.focal).all(), seed
            assert np.isfinite([scene.near, scene.far]).all(), seed
        except UserError as error:
            refused += 1
            assert "\n" not in str(error), seed
            assert len(str(error)) < 1000, seed
        path.write_bytes(good[path])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (peak - before) / 1024 < MOST_MEGABYTES
    assert 0.2 * NUM_MUTATIONS < refused < NUM_MUTATIONS


def test_transforms_files(transforms: Path) -> None:
    check_all(
        transforms,
        "transforms",
        [transforms / "transforms.json"],
        lambda data, rng: mutated_json(data.decode(), rng),
    )


def test_colmap_files(tmp_path: Path) -> None:
    import pycolmap

    pycolmap.set_random_seed(0)
    model = pycolmap.synthesize_dataset(
        pycolmap.SyntheticDatasetOptions(
            num_rigs=1,
            num_frames_per_rig=3,
            num_points3D=30,
            camera_width=SIZE[1],
            camera_height=SIZE[0],
            camera_model_id=pycolmap.CameraModelId.OPENCV,
            camera_params=[20.0, 20, 8, 6, 0.01, 0, 0, 0],
        )
    )
    for one in model.images.values():
        path = tmp_path / "images" / one.name
        path.parent.mkdir(parents=True, exist_ok=True)
        imageio.imwrite(path, image(one.image_id))
    for suffix, write in (("bin", model.write_binary), ("txt", model.write_text)):
        folder = tmp_path / "sparse" / "0"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write(str(folder))
        files = [folder / f"{name}.{suffix}" for name in ("cameras", "images", "points3D")]
        check_all(tmp_path, "colmap", files, mutated_bytes)


def mutated_bounds(data: bytes, rng: np.random.Generator) -> bytes:
    if rng.random() < 0.3:
        return mutated_bytes(data, rng)
    rows = np.load(io.BytesIO(data))
    values = [v for v in ODD_VALUES if isinstance(v, (int, float)) and v != 10**400]
    for _ in range(rng.integers(1, 5)):
        place = tuple(rng.integers(side) for side in rows.shape)
        rows[place] = float(values[rng.integers(len(values))])
    if rng.random() < 0.2:
        rows = rows[: rng.integers(len(rows) + 1), : rng.integers(18)]
    if rng.random() < 0.2:
        rows = rows.astype(rng.choice(["f4", "i8", "c16", "S8", "f2"]))
    buffer = io.BytesIO()
    np.save(buffer, rows)
    return buffer.getvalue()


def test_poses_bounds_files(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    rows = []
    for index in range(6):
        pose = np.array([[0, 1, 0, index], [-1, 0, 0, 0.1 * index], [0, 0, 1, 0.0]])
        matrix = np.concatenate([pose, [[SIZE[0]], [SIZE[1]], [20.0]]], -1)
        rows.append([*matrix.ravel(), 2.0, 9.0])
        imageio.imwrite(tmp_path / "images" / f"{index}.png", image(index))
    np.save(tmp_path / "poses_bounds.npy", rows)
    check_all(tmp_path, "llff", [tmp_path / "poses_bounds.npy"], mutated_bounds)
