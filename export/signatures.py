"""The signatures of a served scene: their names, inputs and outputs, declared once.

The graph, the warm-up requests, the checks and the clients derive from this table. Dimension 0 of
every tensor is the number of rows, and there are no scalars.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfnerf.geometry.conditions import Condition


class Tensor(NamedTuple):
    """An input or an output."""

    name: str
    shape: tuple[int, ...] = ()
    """Of a row; the whole is [N, *shape]."""
    dtype: tf.DType = tf.float32

    @property
    def spec(self) -> tf.TensorSpec:
        """For any number of rows."""
        return tf.TensorSpec([None, *self.shape], self.dtype, self.name)


class Signature(NamedTuple):
    """What can be asked, and what is answered."""

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def requests(self, values: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The inputs of a request by their names, of the dtypes that they have to have.

        Args:
          values: [N, ...] of at least these inputs.
        """
        return {
            tensor.name: np.asarray(values[tensor.name], tensor.dtype.as_numpy_dtype)
            for tensor in self.inputs
        }


RENDERED = (
    Tensor("rgb", (3,)),
    Tensor("depth"),
    Tensor("disparity"),
    Tensor("opacity"),
    Tensor("world_depth"),
)
"""What rendering answers for rays."""


def scene_signatures(conditions: Mapping[str, Condition]) -> dict[str, Signature]:
    """The signatures of a scene by their names.

    Args:
      conditions: those that the scene has, by name; none for a scene that depends on nothing but
        rays.
    """
    more = tuple(Tensor(name, condition.shape) for name, condition in conditions.items())
    signatures = (
        Signature(
            "serving_default",
            (Tensor("origins", (3,)), Tensor("directions", (3,)), *more),
            RENDERED,
        ),
        Signature(
            "render_view",
            (
                Tensor("camera_to_world", (3, 4)),
                Tensor("focal"),
                Tensor("height", dtype=tf.int32),
                Tensor("width", dtype=tf.int32),
                *more,
            ),
            (Tensor("image", dtype=tf.string), Tensor("depth", dtype=tf.string)),
        ),
        Signature(
            "query_points",
            (Tensor("points", (3,)), Tensor("viewdirs", (3,)), *more),
            (Tensor("rgb", (3,)), Tensor("density")),
        ),
        Signature(
            "describe_scene",
            (Tensor("index", dtype=tf.int32),),
            (Tensor("scene", dtype=tf.string),),
        ),
    )
    return {signature.name: signature for signature in signatures}
