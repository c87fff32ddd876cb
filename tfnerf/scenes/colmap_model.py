"""COLMAP's models, binary and text, as what a transforms file holds.

The formats: colmap.github.io/format.html. No length in a file is trusted.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tfnerf.errors import UserError
from tfnerf.files import require_folder
from tfnerf.geometry.poses import to_4x4

_PARAMETERS: dict[str, tuple[str, ...]] = {
    "SIMPLE_PINHOLE": ("f", "cx", "cy"),
    "PINHOLE": ("fl_x", "fl_y", "cx", "cy"),
    "SIMPLE_RADIAL": ("f", "cx", "cy", "k1"),
    "RADIAL": ("f", "cx", "cy", "k1", "k2"),
    "OPENCV": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2"),
    "OPENCV_FISHEYE": ("fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4"),
    "FULL_OPENCV": (*("fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),),
    "SIMPLE_RADIAL_FISHEYE": ("f", "cx", "cy", "k1"),
    "RADIAL_FISHEYE": ("f", "cx", "cy", "k1", "k2"),
}
"""Of each model of a lens, by the names that transforms files have for them."""
_MODELS = (
    *("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"),
    *("FULL_OPENCV", "FOV", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE", "THIN_PRISM_FISHEYE"),
    "RAD_TAN_THIN_PRISM_FISHEYE",
)
"""In the order of their numbers."""
_CAMERA_MODEL = {
    "FULL_OPENCV": "OPENCV",
    "SIMPLE_RADIAL_FISHEYE": "OPENCV_FISHEYE",
    "RADIAL_FISHEYE": "OPENCV_FISHEYE",
}
"""Models by the names that transforms files have for them, where these are others."""
_FLIPPED = np.diag([1.0, -1.0, -1.0])
"""From COLMAP's camera axes, y down and z forwards, to y up and z backwards."""
_PERCENTILES = 1, 99
"""Of the depths of the points of a view; those beyond are taken for mistakes."""
_MIN_POINTS = 20
"""A view that has fewer points has the depths of all."""
_OBSERVATION = np.dtype([("place", "<f8", 2), ("point", "<i8")])


class _Image(NamedTuple):
    name: str
    camera: int
    quaternion: np.ndarray
    """[4], w first, from the world to the camera."""
    translation: np.ndarray
    """[3]"""
    points: np.ndarray
    """[K] int, of the points that are seen in it; -1 for features of no point."""


class Model(NamedTuple):
    """A reconstruction."""

    content: dict[str, Any]
    """What a transforms file of it would hold, and for each frame "near" and "far", between which
    what it sees lies, units of the model."""
    points: np.ndarray
    """[P, 3], units of the model."""


def find_model(folder: Path) -> Path | None:
    """Where below a folder a model is, in the places that COLMAP and its users put it."""
    for place in ("sparse/0", "sparse", "colmap/sparse/0", "."):
        if (folder / place / "cameras.bin").is_file() or (folder / place / "cameras.txt").is_file():
            return folder / place
    return None


def read_model(folder: Path) -> Model:
    """Reads the model in a folder: cameras, images and points3D, all .bin or all .txt.

    Raises:
      UserError: a file is missing or damaged, or a lens is of a model that is not known.
    """
    require_folder(folder)
    binary = (folder / "cameras.bin").is_file()
    suffix = ".bin" if binary else ".txt"
    readers: dict[str, Callable[[Path], Any]] = (
        {"cameras": _binary_cameras, "images": _binary_images, "points3D": _binary_points}
        if binary
        else {"cameras": _text_cameras, "images": _text_images, "points3D": _text_points}
    )
    cameras, images, points = (
        _read(reader, folder / f"{name}{suffix}") for name, reader in readers.items()
    )
    return _to_model(cameras, images, points, folder / f"images{suffix}")


def _read(reader: Callable[[Path], Any], path: Path) -> Any:
    try:
        return reader(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except (OSError, ValueError, struct.error, IndexError, KeyError, OverflowError) as error:
        raise UserError(f"{path}: damaged, or no file of COLMAP's: {error}") from None


def _to_model(
    cameras: dict[int, dict[str, Any]],
    images: list[_Image],
    points: tuple[np.ndarray, np.ndarray],
    path: Path,
) -> Model:
    if not images:
        raise UserError(f"{path}: found no images, expected at least one")
    ids, places = points
    frames = []
    for image in sorted(images, key=lambda image: image.name):
        if image.camera not in cameras:
            raise UserError(f"{path}: {image.name:.60} has camera {image.camera}, which is missing")
        rotation = _rotation(image.quaternion, f"{path}: {image.name:.60}")
        pose = np.concatenate(
            [rotation.T @ _FLIPPED, -rotation.T @ image.translation[:, np.newaxis]], 1
        )
        frames.append(
            {
                "file_path": image.name,
                "transform_matrix": to_4x4(pose).tolist(),
                **cameras[image.camera],
                **_bounds(image, rotation, ids, places, cameras[image.camera]),
            }
        )
    return Model({"frames": frames}, places)


def _rotation(quaternion: np.ndarray, where: str) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    length = np.abs(quaternion).max()
    if not 1e-9 < length < 1e9:
        raise UserError(f"{where}: found the rotation {quaternion}, expected a quaternion")
    return Rotation.from_quat(quaternion[[1, 2, 3, 0]]).as_matrix()


def _bounds(
    image: _Image,
    rotation: np.ndarray,
    ids: np.ndarray,
    places: np.ndarray,
    camera: dict[str, Any],
) -> dict[str, float]:
    """Between which depths what an image shows lies; nothing where no points tell."""
    seen = places[np.isin(ids, image.points)] @ rotation.T + image.translation
    # Depths of a fisheye are distances, as it looks aside and behind.
    fisheye = camera["camera_model"] == "OPENCV_FISHEYE"
    depths = np.linalg.norm(seen, axis=-1) if fisheye else seen[:, 2]
    depths = depths[np.isfinite(depths) & (depths > 0)]
    if len(depths) < _MIN_POINTS:
        return {}
    near, far = np.percentile(depths, _PERCENTILES)
    return {"near": float(near), "far": float(far)}


def _camera(model: str, width: int, height: int, values: list[float]) -> dict[str, Any]:
    """A camera by the keys of transforms files."""
    if model not in _PARAMETERS:
        raise ValueError(f"a lens of model {model:.40}, expected one of {', '.join(_PARAMETERS)}")
    names = _PARAMETERS[model]
    if len(values) != len(names):
        raise ValueError(f"{len(values)} parameters of a {model} lens, expected {len(names)}")
    camera: dict[str, Any] = dict(zip(names, values))
    if "f" in camera:
        camera["fl_x"] = camera["fl_y"] = camera.pop("f")
    return {"camera_model": _CAMERA_MODEL.get(model, model), "w": width, "h": height, **camera}


class _Bytes:
    """A file that is read piece by piece and is not trusted to be as long as it says."""

    def __init__(self, path: Path):
        self._data = path.read_bytes()
        self._place = 0

    def take(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{layout}", self._data, self._place)
        self._place += struct.calcsize(f"<{layout}")
        return values

    def take_array(self, dtype: np.dtype, count: int) -> np.ndarray:
        if count * dtype.itemsize > len(self._data) - self._place:
            raise ValueError(f"it ends before {count} records do")
        values = np.frombuffer(self._data, dtype, count, self._place)
        self._place += values.nbytes
        return values

    def skip(self, size: int) -> None:
        if size > len(self._data) - self._place:
            raise ValueError("it ends in the middle of a record")
        self._place += size

    def take_name(self) -> str:
        end = self._data.index(b"\0", self._place)
        name = self._data[self._place : end].decode()
        self._place = end + 1
        return name

    def counted(self) -> range:
        """As many records as it says, of at least a byte each."""
        (count,) = self.take("Q")
        if count > len(self._data):
            raise ValueError(f"it speaks of {count} records in {len(self._data)} bytes")
        return range(count)


def _binary_cameras(path: Path) -> dict[int, dict[str, Any]]:
    data = _Bytes(path)
    cameras = {}
    for _ in data.counted():
        number, model, width, height = data.take("iiQQ")
        name = _MODELS[model] if 0 <= model < len(_MODELS) else f"number {model}"
        values = list(data.take(f"{len(_PARAMETERS.get(name, ()))}d"))
        cameras[number] = _camera(name, width, height, values)
    return cameras


def _binary_images(path: Path) -> list[_Image]:
    data = _Bytes(path)
    images = []
    for _ in data.counted():
        _, *pose, camera = data.take("I7dI")
        name = data.take_name()
        (count,) = data.take("Q")
        points = data.take_array(_OBSERVATION, count)["point"]
        images.append(_Image(name, camera, np.array(pose[:4]), np.array(pose[4:]), points))
    return images


def _binary_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Numbers [P] and places [P, 3]."""
    data = _Bytes(path)
    ids, places = [], []
    for _ in data.counted():
        number, x, y, z, *_, track_length = data.take("Q3d3BdQ")
        data.skip(8 * track_length)
        ids.append(number)
        places.append((x, y, z))
    return np.array(ids, np.uint64).astype(np.int64), np.array(places).reshape([-1, 3])


def _lines(path: Path) -> Iterator[str]:
    """Without comments."""
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        if not line.startswith("#"):
            yield line.strip()


def _text_cameras(path: Path) -> dict[int, dict[str, Any]]:
    cameras = {}
    for line in filter(None, _lines(path)):
        number, model, width, height, *values = line.split()
        cameras[int(number)] = _camera(model, int(width), int(height), list(map(float, values)))
    return cameras


def _text_images(path: Path) -> list[_Image]:
    images = []
    lines = _lines(path)
    for line in lines:
        if not line:  # between two images, or at the end
            continue
        _, *pose, camera, name = line.split(maxsplit=9)
        numbers = np.array(pose, np.float64)
        points = np.array(next(lines, "").split()[2::3], np.int64)
        images.append(_Image(name, int(camera), numbers[:4], numbers[4:], points))
    return images


def _text_points(path: Path) -> tuple[np.ndarray, np.ndarray]:
    rows = [line.split()[:4] for line in filter(None, _lines(path))]
    if any(len(row) < 4 for row in rows):
        raise ValueError("a point of less than a number and three coordinates")
    if not rows:
        return np.zeros(0, np.int64), np.zeros([0, 3])
    ids = np.array([int(row[0]) for row in rows], np.int64)
    return ids, np.array([row[1:] for row in rows], np.float64)
