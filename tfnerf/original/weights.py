"""The original's weight files: read without running what a file says.

`model_NNNNNN.npy` is an object array of arrays: a pickle, and a pickle can name any function to be
called on loading. Here the names that such files need are answered by stand-ins that only
remember what they are given; any other name is refused. NumPy's own loader is not used.
"""

from __future__ import annotations

import dataclasses
import math
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from tfnerf.errors import UserError, first_line
from tfnerf.settings import Config, NetworkSettings

_MAX_BYTES = 1 << 30
_MAX_ARRAYS = 200
_OBJECT_DTYPES = ("O", "O8")
_DTYPES = ("f4", "f8")
_NUMPY_INTERNALS = ("numpy.core.multiarray", "numpy._core.multiarray")


def read_weights(path: Path) -> list[np.ndarray]:
    """The arrays of a weight file of the original, float32.

    Raises:
      UserError: the file holds anything but arrays of numbers.
    """
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise UserError(f"{path}: found {size} bytes, expected weights of less than a gigabyte")
        with open(path, "rb") as file:
            arrays = _read_object_array(file)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UserError:
        raise
    except Exception as error:  # a pickle can go wrong in any way
        raise UserError(f"{path}: no weights of the original: {first_line(error)}") from None
    return arrays


def network_settings(arrays: Sequence[np.ndarray], where: str) -> NetworkSettings:
    """The shape of the network that has these weights.

    Args:
      arrays: kernel and bias of each layer, in the original's order: the trunk, then bottleneck,
        view layer, colour and density, or one output layer without view directions.
      where: names them in errors.

    Raises:
      UserError: no network of the original has such weights.
    """
    shapes = [array.shape for array in arrays]
    found = f"{where}: no weights of the original: found {len(arrays)} arrays of shapes {shapes}"
    try:
        settings = _settings_of(shapes)
    except (IndexError, TypeError, ValueError, UserError):
        raise UserError(found) from None
    if shapes != _shapes_of(settings):
        raise UserError(found)
    return settings


def _settings_of(shapes: list[tuple[int, ...]]) -> NetworkSettings:
    """Reads a network off the shapes of its weights, supposing that they belong to one."""
    use_viewdirs = len(shapes) > 2 and shapes[-1] == (1,)
    kernels = shapes[0::2]
    num_heads = 4 if use_viewdirs else 1
    trunk = kernels[: len(kernels) - num_heads]
    position, width = trunk[0]
    after_skip = [layer for layer in range(len(trunk)) if trunk[layer][0] == width + position]
    inputs_of_heads = kernels[len(trunk)][0]
    if inputs_of_heads == width + position:
        after_skip.append(len(trunk))
    bottleneck = kernels[len(trunk)][1] if use_viewdirs else None
    direction = kernels[len(trunk) + 1][0] - kernels[len(trunk)][1] if use_viewdirs else 3
    return NetworkSettings(
        net_depth=len(trunk),
        net_width=width,
        skip_layer=after_skip[0] - 1 if after_skip else len(trunk),
        bottleneck_width=bottleneck,
        position_frequencies=_num_frequencies(position),
        direction_frequencies=_num_frequencies(direction),
        use_viewdirs=use_viewdirs,
    )


def _shapes_of(settings: NetworkSettings) -> list[tuple[int, ...]]:
    """The shapes of the weights of a network."""
    from tfnerf.fields.mlp import make_field

    field = make_field(Config(network=settings), 0, "coarse")
    return [tuple(weight.shape) for weight in field.weights]


def _num_frequencies(width: int) -> int:
    """Of an encoding of three numbers with so many features; any other raises ValueError."""
    if width % 6 != 3:
        raise ValueError(f"{width} features")
    return (width - 3) // 6


@dataclasses.dataclass
class _Dtype:
    """In the place of numpy.dtype: remembers its name and its byte order."""

    name: str
    order: str = "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]


class _Array:
    """In the place of numpy.ndarray: remembers shape, type and content."""

    state: tuple[Any, ...] = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Unpickler(pickle._Unpickler):
    """Answers names with stand-ins, or not at all.

    In Python because the one in C can be made to set aside any amount of memory.
    """

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "dtype"):
            return lambda kind, *_: _Dtype(kind)
        if (module, name) == ("numpy", "ndarray"):
            return None  # an argument of _reconstruct
        if name == "_reconstruct" and module in _NUMPY_INTERNALS:
            return lambda *_: _Array()
        if (module, name) == ("_codecs", "encode"):  # bytes, in old files
            return lambda text, _: text.encode("latin1")
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which is refused")


def _read_object_array(file: BinaryIO) -> list[np.ndarray]:
    """The elements of a .npy file of one dimension whose elements are arrays of numbers."""
    version = np.lib.format.read_magic(file)
    read_header = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read_header(file)
    if dtype != np.dtype(object) or len(shape) != 1:
        raise ValueError(f"found an array of {dtype} and shape {shape}, expected objects")
    outer = _Unpickler(file, encoding="latin1").load()
    if not isinstance(outer, _Array):
        raise ValueError("expected an array")
    elements = _content(outer, _OBJECT_DTYPES)
    if len(elements) > _MAX_ARRAYS:  # they may all be the same one, and each is copied
        raise ValueError(f"found {len(elements)} arrays, expected at most {_MAX_ARRAYS}")
    if len(elements) != shape[0]:
        raise ValueError(f"found {len(elements)} arrays, expected {shape[0]}")
    return [_to_numpy(element) for element in elements]


def _content(array: _Array, dtypes: tuple[str, ...]) -> Any:
    """What an array of one of these types was filled with."""
    _, _, dtype, _, content = array.state
    if not isinstance(dtype, _Dtype) or dtype.name not in dtypes:
        raise ValueError(f"found an array of {dtype}, expected one of {', '.join(dtypes)}")
    if not isinstance(content, list if dtypes is _OBJECT_DTYPES else (bytes, str)):
        raise ValueError(f"found {type(content).__name__} in an array")
    return content


def _to_numpy(element: Any) -> np.ndarray:
    if not isinstance(element, _Array):
        raise ValueError(f"found a {type(element).__name__}, expected an array")
    content = _content(element, _DTYPES)
    _, shape, dtype, column_major, _ = element.state
    # Python 2 wrote bytes as text.
    data = content.encode("latin1") if isinstance(content, str) else content
    kind = np.dtype({"<": "<", ">": ">"}[dtype.order] + dtype.name)
    shape = tuple(int(side) for side in shape)
    if any(side < 0 for side in shape) or len(data) != math.prod(shape) * kind.itemsize:
        raise ValueError(f"found {len(data)} bytes for an array of shape {shape}")
    array = np.frombuffer(data, kind).reshape(shape, order="F" if column_major else "C")
    if not np.isfinite(array).all():
        raise ValueError("found a weight that is not finite")
    return array.astype(np.float32)
