"""The graph that is served: rays, views and points in world coordinates to what is seen there.

World coordinates are the units and axes of the scene's files. What the networks know (scene units,
NDC) stays inside. Memory is bounded: rays are rendered in chunks, whatever their number. Nothing
draws random numbers, because answers must not depend on how requests were batched, and nothing is
compiled with XLA, because TF Serving switches it off.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.signatures import RENDERED, Signature, Tensor, scene_signatures
from tfnerf.geometry.cameras import Cameras, Rays
from tfnerf.scenes import Scene
from tfnerf.settings import RenderSettings
from tfnerf.volume.devices import cpu_rays_per_chunk
from tfnerf.volume.scene_renderer import SceneRenderer

MAX_PIXELS = 1 << 24
"""Of a picture that render_view makes."""
DEPTH_LEVELS = 65535
"""What far is in a depth picture; near is 0."""
_MAX_DESCRIPTIONS = 1000
_MAX_DESCRIBED_BYTES = 1 << 26
"""Of all descriptions that are answered together: they may be long."""
_SIZES_EXPECTED = f"expected height, width and focal above 0 and at most {MAX_PIXELS} pixels; found"


class ServedScene(tf.Module):
    """A trained scene with the signatures of a served model.

    Args:
      renderer: of the scene; its networks compute in float32.
      scene: that they were trained on.
      settings: how many rays at a time.
      dtype: that weights are stored in; all computation is in float32.
      description: what describe_scene answers.
    """

    def __init__(
        self,
        renderer: SceneRenderer,
        scene: Scene,
        settings: RenderSettings,
        dtype: tf.DType,
        description: str,
    ):
        super().__init__()
        # A Keras model as an attribute would be saved in a way that TF Serving cannot load.
        # Variables are: each once. The networks are evaluated with them in the place of their own.
        self.variables_of_model = [
            tf.Variable(stored(variable.value, dtype), trainable=False)
            for variable in renderer.model.variables
        ]
        self._renderer = renderer
        self._scene = scene
        self._rays_per_chunk = settings.given_picture_rays_per_chunk or cpu_rays_per_chunk(
            renderer.sampler
        )
        self._points_per_chunk = self._rays_per_chunk * renderer.sampler.points_per_ray
        self._description = description
        self._to_scene = np.linalg.inv(scene.scene_to_world).astype(np.float32)

    def signatures(self) -> dict[str, Any]:
        """The functions to be exported, by the name of their signature."""
        functions: dict[str, Callable[..., dict[str, tf.Tensor]]] = {
            "serving_default": self.render,
            "render_view": self.render_view,
            "query_points": self.query_points,
            "describe_scene": self.describe,
        }
        signatures = scene_signatures(self._scene.conditions)
        return {name: _graph(functions[name], signatures[name]) for name in functions}

    def render(
        self, origins: tf.Tensor, directions: tf.Tensor, **conditions: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Renders rays.

        Args:
          origins: [N, 3], world.
          directions: [N, 3], world; near, far and depth count in their lengths.
          **conditions: of each ray.

        Returns:
          rgb [N, 3], depth [N] (in NDC for scenes in NDC), disparity [N], opacity [N], world_depth
          [N] (the mean depth of what is seen, in world units whatever the scene; 0 where little is
          seen), all float32.
        """

        def render_chunk(
            origins: tf.Tensor, directions: tf.Tensor, **conditions: tf.Tensor
        ) -> dict[str, tf.Tensor]:
            return self._render_chunk(self._in_scene(origins, directions, conditions))

        inputs = {"origins": origins, "directions": directions, **conditions}
        return _in_chunks(render_chunk, inputs, self._rays_per_chunk, RENDERED)

    def render_view(
        self,
        camera_to_world: tf.Tensor,
        focal: tf.Tensor,
        height: tf.Tensor,
        width: tf.Tensor,
        **conditions: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        """Renders pictures of pinhole cameras, which may be of different sizes.

        Args:
          camera_to_world: [B, 3, 4].
          focal: [B], pixels.
          height: [B] int, pixels.
          width: [B] int, pixels.
          **conditions: of each picture.

        Returns:
          image [B], PNG; depth [B], 16-bit PNG: 0 at near, 65535 at far and where nothing is.
        """
        cameras = (camera_to_world, focal, height, width, conditions)
        with tf.control_dependencies(_length_checks(tf.nest.flatten(cameras))):
            image, depth = tf.map_fn(
                lambda camera: self._render_one(*camera),
                cameras,
                fn_output_signature=(tf.string, tf.string),
                parallel_iterations=1,
            )
        return {"image": image, "depth": depth}

    def query_points(
        self, points: tf.Tensor, viewdirs: tf.Tensor, **conditions: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """What is at points.

        Args:
          points: [N, 3], world.
          viewdirs: [N, 3], world, of any length: the directions they are seen along.
          **conditions: of each point.

        Returns:
          rgb [N, 3]; density [N], per world unit (per unit of NDC for scenes in NDC).
        """
        inputs = {"points": points, "viewdirs": viewdirs, **conditions}
        outputs = scene_signatures(self._scene.conditions)["query_points"].outputs
        return _in_chunks(self._query_chunk, inputs, self._points_per_chunk, outputs)

    def describe(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same JSON text for each index [N]: scene [N]. N is bounded, as the text is long."""
        fitting = _MAX_DESCRIBED_BYTES // len(self._description.encode())
        most = max(1, min(fitting, _MAX_DESCRIPTIONS))
        check = tf.debugging.Assert(
            tf.shape(index)[0] <= most,
            [f"expected at most {most} indices, found", tf.shape(index)[0]],
        )
        with tf.control_dependencies([check]):
            return {"scene": tf.fill(tf.shape(index), self._description)}

    def _render_chunk(self, rays: Rays) -> dict[str, tf.Tensor]:
        """Rays [N] in scene units."""
        scale = self._scene.depth_scale
        with self._own_variables():
            final = self._renderer.render(rays).final
        world_depth = self._renderer.scene_depth(rays, final) * self._scene.world_scale
        return {
            "rgb": final.rgb,
            "depth": final.depth * scale,
            "disparity": final.disparity / scale,
            "opacity": final.opacity,
            "world_depth": world_depth,
        }

    def _render_one(
        self,
        camera_to_world: tf.Tensor,
        focal: tf.Tensor,
        height: tf.Tensor,
        width: tf.Tensor,
        conditions: dict[str, tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """A picture [] and its depth [] of one camera, as PNG."""
        num_pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
        check = tf.debugging.Assert(
            (height > 0) & (width > 0) & (num_pixels <= MAX_PIXELS) & (focal > 0),
            [_SIZES_EXPECTED, height, width, focal],
        )
        with tf.control_dependencies([check]):
            pixels = tf.range(height * width)
        camera = Cameras(
            camera_to_world=camera_to_world[tf.newaxis],
            focal=tf.reshape(tf.stack([focal, focal]), [1, 2]),
            center=tf.cast(tf.stack([width, height]), tf.float32)[tf.newaxis] / 2,
            distortion=np.zeros([1, 4], np.float32),
            height=height,
            width=width,
            conditions={name: value[tf.newaxis] for name, value in conditions.items()} or None,
        )

        def render_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            rays = camera.pixel_rays(0, pixels, pixel_centers=self._renderer.pixel_centers)
            return self._render_chunk(
                self._in_scene(rays.origins, rays.directions, rays.conditions or {})
            )

        seen = _in_chunks(render_pixels, {"pixels": pixels}, self._rays_per_chunk, RENDERED)
        near, far = self._scene.near, self._scene.far
        depth = seen["depth"] / self._scene.depth_scale + (1 - seen["opacity"]) * far
        rgb = _to_levels(seen["rgb"], 255, tf.uint8)
        depth = _to_levels((depth - near) / (far - near), DEPTH_LEVELS, tf.uint16)
        return (
            tf.io.encode_png(tf.reshape(rgb, [height, width, 3])),
            tf.io.encode_png(tf.reshape(depth, [height, width, 1])),
        )

    def _query_chunk(
        self, points: tf.Tensor, viewdirs: tf.Tensor, **conditions: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        inside = self._in_scene(points, viewdirs, conditions)
        with self._own_variables():
            rgb, density = self._renderer.query(inside.origins, inside.viewdirs, inside.conditions)
        return {"rgb": rgb, "density": density / self._scene.depth_scale}

    def _in_scene(
        self, origins: tf.Tensor, directions: tf.Tensor, conditions: dict[str, tf.Tensor]
    ) -> Rays:
        """World rays in scene units; directions keep their length, so depths are scene units.

        Conditions are checked: what the scene was not trained with is answered by an error.
        """
        with tf.control_dependencies(self._condition_checks(conditions)):
            conditions = {name: tf.identity(rows) for name, rows in conditions.items()}
        rotation = self._to_scene[:3, :3] * self._scene.world_scale
        directions = tf.matmul(directions, rotation, transpose_b=True)
        return Rays(
            tf.matmul(origins, self._to_scene[:3, :3], transpose_b=True) + self._to_scene[:3, 3],
            directions,
            directions / tf.norm(directions, axis=-1, keepdims=True),
            conditions or None,
        )

    def _condition_checks(self, conditions: Mapping[str, tf.Tensor]) -> list[tf.Operation]:
        """Operations that fail where rows are not such as the scene was trained with."""
        checks = []
        for name, condition in self._scene.conditions.items():
            rows = conditions[name]
            sizes = tf.norm(rows, axis=-1) if condition.shape else rows
            least, most = condition.limits
            known = (sizes >= least) & (sizes <= most)  # NaN is not
            kind = "length" if condition.shape else "number"
            expected = f"{name}: expected a {kind} from {condition.least:g} to {condition.most:g}"
            checks.append(
                tf.debugging.Assert(
                    tf.reduce_all(known), [f"{expected}, found", tf.boolean_mask(sizes, ~known)]
                )
            )
        return checks

    def _own_variables(self) -> contextlib.AbstractContextManager:
        """Within it the networks compute with the variables of this module."""
        of_model = self._renderer.model.variables
        return keras.StatelessScope(
            [
                (theirs, tf.cast(own, theirs.dtype))
                for theirs, own in zip(of_model, self.variables_of_model)
            ]
        )


def stored(value: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """A variable's value as it is stored: weights, which have 32 bits, in a type.

    What counts or chooses stays as it is, and so does what has 64 bits because rounding it would
    move things, such as the corners of a box.
    """
    return tf.cast(value, dtype) if value.dtype == tf.float32 else value


def _graph(function: Callable[..., dict[str, tf.Tensor]], signature: Signature) -> Any:
    """A function of named tensors as one that can be exported under a signature."""

    def by_position(*tensors: tf.Tensor) -> dict[str, tf.Tensor]:
        return function(**{given.name: tensor for given, tensor in zip(signature.inputs, tensors)})

    specs = [tensor.spec for tensor in signature.inputs]
    return tf.function(by_position, input_signature=specs, autograph=False)


def _in_chunks(
    function: Callable[..., dict[str, tf.Tensor]],
    inputs: Mapping[str, tf.Tensor],
    chunk: int,
    outputs: Sequence[Tensor],
) -> dict[str, tf.Tensor]:
    """Applies a function to a bounded number of rows at a time.

    Args:
      function: named tensors [n, ...] to those of `outputs`.
      inputs: tensors [N, ...] by their names.
      chunk: how many rows at a time.
      outputs: what the results are.
    """
    with tf.control_dependencies(_length_checks(list(inputs.values()))):
        num_rows = tf.shape(next(iter(inputs.values())))[0]
        num_chunks = (num_rows + chunk - 1) // chunk
    results = {
        output.name: tf.TensorArray(
            output.dtype,
            num_chunks,
            infer_shape=False,
            element_shape=[None, *output.shape],
        )
        for output in outputs
    }

    def step(index: tf.Tensor, results: dict[str, tf.TensorArray]) -> tuple:
        rows = slice(index * chunk, (index + 1) * chunk)
        values = function(**{name: tensor[rows] for name, tensor in inputs.items()})
        return index + 1, {
            name: array.write(index, values[name]) for name, array in results.items()
        }

    _, results = tf.while_loop(
        lambda index, _: index < num_chunks, step, (0, results), parallel_iterations=1
    )
    return {name: array.concat() for name, array in results.items()}


def _length_checks(inputs: Sequence[tf.Tensor]) -> list[tf.Operation]:
    """Operations that fail unless all tensors [N, ...] have the same N."""
    num_rows = tf.shape(inputs[0])[0]
    checks = [
        tf.debugging.assert_equal(tf.shape(other)[0], num_rows, "inputs of different lengths")
        for other in inputs[1:]
    ]
    return [check for check in checks if check is not None]


def _to_levels(values: tf.Tensor, most: int, dtype: tf.DType) -> tf.Tensor:
    """Values from 0 to 1 as integers from 0 to `most`, rounded."""
    return tf.cast(tf.round(most * tf.clip_by_value(values, 0, 1)), dtype)
