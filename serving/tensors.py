"""Tensors of requests to arrays and back; nothing that a client declares is trusted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf

from serving.errors import invalid

_VALUES = {
    tf.float32.as_datatype_enum: "float_val",
    tf.int32.as_datatype_enum: "int_val",
}
"""The types that signatures of scenes have, and where values are if not in tensor_content."""


def to_array(name: str, proto: Any, spec: Any, max_rows: int) -> np.ndarray:
    """Decodes an input.

    Args:
      name: of the input, for errors.
      proto: TensorProto of the request.
      spec: TensorInfo of the signature.
      max_rows: bound of dimension 0.

    Raises:
      RequestError: it is not what the signature asks for, or declares another size than it has.
    """
    if proto.dtype != spec.dtype:
        raise invalid(
            f"{name}: found dtype {_dtype_name(proto.dtype)}, expected {_dtype_name(spec.dtype)}"
        )
    if proto.dtype not in _VALUES:
        raise invalid(f"{name}: dtype {_dtype_name(proto.dtype)} is not served")
    shape = [dimension.size for dimension in proto.tensor_shape.dim]
    expected = [dimension.size for dimension in spec.tensor_shape.dim]
    fits = len(shape) == len(expected) and all(
        size >= 0 and wanted in (-1, size) for size, wanted in zip(shape, expected)
    )
    if proto.tensor_shape.unknown_rank or not fits:
        found = "unknown" if proto.tensor_shape.unknown_rank else shape
        raise invalid(f"{name}: found shape {found}, expected {expected} (-1: any)")
    if shape and shape[0] > max_rows:
        raise invalid(f"{name}: found {shape[0]} rows, more than the limit --max_rows={max_rows}")
    return _values(name, proto, shape)


def fill(proto: Any, array: np.ndarray) -> None:
    """Encodes an array into an empty TensorProto; numbers as bytes, which are decoded in no time.

    tf.make_tensor_proto would make a TensorProto of its own, to be copied into the message.
    """
    proto.dtype = tf.as_dtype(array.dtype).as_datatype_enum
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if proto.dtype == tf.string.as_datatype_enum:
        proto.string_val.extend(array.ravel())
    else:
        proto.tensor_content = array.tobytes()


def _values(name: str, proto: Any, shape: list[int]) -> np.ndarray:
    dtype = tf.as_dtype(proto.dtype).as_numpy_dtype
    count = math.prod(shape)
    values = getattr(proto, _VALUES[proto.dtype])
    if content := proto.tensor_content:  # once: each look at it copies it
        if len(content) != count * np.dtype(dtype).itemsize:
            raise invalid(f"{name}: found {len(content)} bytes of content for shape {shape}")
        return np.frombuffer(content, dtype).reshape(shape)
    if len(values) > count or (count and not len(values)):
        raise invalid(f"{name}: found {len(values)} values for shape {shape}")
    array = np.empty(count, dtype)
    array[: len(values)] = values
    if count:
        array[len(values) :] = values[-1]  # TensorFlow: the last value stands for the rest
    return array.reshape(shape)


def _dtype_name(number: int) -> str:
    try:
        return str(tf.as_dtype(number).name)
    except TypeError:
        return str(number)
