"""The graph that is served: rays, views and points in world coordinates to what is seen there.

World coordinates are the units and axes of the scene's files. What the networks know (scene units,
NDC) stays inside. Memory is bounded: rays are rendered in chunks, whatever their number. Nothing
draws random numbers, because answers must not depend on how requests were batched, and nothing is
compiled with XLA, because TF Serving switches it off.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfnerf.fields.mlp import NeRF, RadianceField
from tfnerf.geometry.cameras import Cameras, Rays
from tfnerf.scenes import Scene
from tfnerf.settings import RenderSettings
from tfnerf.volume.renderer import query_points, render_rays

MOST_PIXELS = 1 << 24
"""Of a picture that render_view makes."""
DEPTH_LEVELS = 65535
"""What far is in a depth picture; near is 0."""
_MOST_DESCRIPTIONS = 1000
_SIZES_EXPECTED = (
    f"expected height, width and focal above 0 and at most {MOST_PIXELS} pixels; found"
)
_RENDERED = {"rgb": 3, "depth": None, "disparity": None, "opacity": None}
"""What rendering answers, and how wide it is."""


class ServedScene(tf.Module):
    """A trained scene with the four signatures of a served model.

    Args:
      model: the trained networks.
      scene: that they were trained on.
      settings: how rays are sampled.
      dtype: that weights are stored in; all computation is in float32.
      description: what describe_scene answers.
    """

    def __init__(
        self,
        model: NeRF,
        scene: Scene,
        settings: RenderSettings,
        dtype: tf.DType,
        description: str,
    ):
        super().__init__()
        # A Keras model as an attribute would be saved in a way that TF Serving cannot load.
        # Variables are: each weight once. Its network is evaluated with them in its place.
        networks = [model.coarse] if model.fine is None else [model.coarse, model.fine]
        self.weights = [
            [tf.Variable(tf.cast(weight.value, dtype), trainable=False) for weight in net.weights]
            for net in networks
        ]
        fields = [_with_weights(net, weights) for net, weights in zip(networks, self.weights)]
        self._model = _Networks(fields[0], fields[-1])
        self._scene = scene
        self._settings = settings
        self._description = description
        self._to_scene = np.linalg.inv(scene.scene_to_world).astype(np.float32)

    def signatures(self) -> dict[str, Any]:
        """The functions to be exported, by the name of their signature."""
        rows = {
            name: tf.TensorSpec([None, 3], tf.float32, name)
            for name in ("origins", "directions", "points", "viewdirs")
        }
        functions = {
            "serving_default": (self.render, (rows["origins"], rows["directions"])),
            "render_view": (
                self.render_view,
                (
                    tf.TensorSpec([None, 3, 4], tf.float32, "camera_to_world"),
                    tf.TensorSpec([None], tf.float32, "focal"),
                    tf.TensorSpec([None], tf.int32, "height"),
                    tf.TensorSpec([None], tf.int32, "width"),
                ),
            ),
            "query_points": (self.query_points, (rows["points"], rows["viewdirs"])),
            "describe_scene": (self.describe, (tf.TensorSpec([None], tf.int32, "index"),)),
        }
        return {
            name: tf.function(function, input_signature=inputs, autograph=False)
            for name, (function, inputs) in functions.items()
        }

    def render(self, origins: tf.Tensor, directions: tf.Tensor) -> dict[str, tf.Tensor]:
        """Renders rays.

        Args:
          origins: [N, 3], world.
          directions: [N, 3], world; near, far and depth count in their lengths.

        Returns:
          rgb [N, 3], depth [N] (in NDC for scenes in NDC), disparity [N], opacity [N], all float32.
        """
        return _in_chunks(
            lambda *chunk: self._render_chunk(self._in_scene(*chunk)),
            [origins, directions],
            self._settings.rays_per_chunk,
            _RENDERED,
        )

    def render_view(
        self, camera_to_world: tf.Tensor, focal: tf.Tensor, height: tf.Tensor, width: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Renders pictures of pinhole cameras, which may be of different sizes.

        Args:
          camera_to_world: [B, 3, 4].
          focal: [B], pixels.
          height: [B] int, pixels.
          width: [B] int, pixels.

        Returns:
          image [B], PNG; depth [B], 16-bit PNG: 0 at near, 65535 at far and where nothing is.
        """
        cameras = (camera_to_world, focal, height, width)
        with tf.control_dependencies(_length_checks(cameras)):
            image, depth = tf.map_fn(
                lambda camera: self._render_one(*camera),
                cameras,
                fn_output_signature=(tf.string, tf.string),
                parallel_iterations=1,
            )
        return {"image": image, "depth": depth}

    def query_points(self, points: tf.Tensor, viewdirs: tf.Tensor) -> dict[str, tf.Tensor]:
        """What is at points.

        Args:
          points: [N, 3], world.
          viewdirs: [N, 3], world, of any length: the directions they are seen along.

        Returns:
          rgb [N, 3]; density [N], per world unit (per unit of NDC for scenes in NDC).
        """
        return _in_chunks(
            self._query_chunk,
            [points, viewdirs],
            self._settings.rays_per_chunk * self._settings.num_coarse_samples,
            {"rgb": 3, "density": None},
        )

    def describe(self, index: tf.Tensor) -> dict[str, tf.Tensor]:
        """The same JSON text for each index [N]: scene [N]. N is bounded, as the text is long."""
        check = tf.debugging.Assert(
            tf.shape(index)[0] <= _MOST_DESCRIPTIONS,
            [f"expected at most {_MOST_DESCRIPTIONS} indices, found", tf.shape(index)[0]],
        )
        with tf.control_dependencies([check]):
            return {"scene": tf.fill(tf.shape(index), self._description)}

    def _render_chunk(self, rays: Rays) -> dict[str, tf.Tensor]:
        """Rays [N] in scene units."""
        scene = self._scene
        fine = render_rays(
            self._model,
            rays if scene.ndc is None else scene.ndc.warp(rays),
            scene.near,
            scene.far,
            self._settings,
            white_background=scene.white_background,
        ).fine
        return {
            "rgb": fine.rgb,
            "depth": fine.depth * scene.depth_scale,
            "disparity": fine.disparity / scene.depth_scale,
            "opacity": fine.opacity,
        }

    def _render_one(
        self, camera_to_world: tf.Tensor, focal: tf.Tensor, height: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """A picture [] and its depth [] of one camera, as PNG."""
        num_pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
        check = tf.debugging.Assert(
            (height > 0) & (width > 0) & (num_pixels <= MOST_PIXELS) & (focal > 0),
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
        )

        def render_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
            rays = camera.rays(
                tf.zeros_like(pixels),
                pixels // width,
                pixels % width,
                pixel_centers=self._scene.pixel_centers,
            )
            return self._render_chunk(self._in_scene(rays.origins, rays.directions))

        seen = _in_chunks(render_pixels, [pixels], self._settings.rays_per_chunk, _RENDERED)
        near, far = self._scene.near, self._scene.far
        depth = seen["depth"] / self._scene.depth_scale + (1 - seen["opacity"]) * far
        rgb = _to_levels(seen["rgb"], 255, tf.uint8)
        depth = _to_levels((depth - near) / (far - near), DEPTH_LEVELS, tf.uint16)
        return (
            tf.io.encode_png(tf.reshape(rgb, [height, width, 3])),
            tf.io.encode_png(tf.reshape(depth, [height, width, 1])),
        )

    def _query_chunk(self, points: tf.Tensor, viewdirs: tf.Tensor) -> dict[str, tf.Tensor]:
        inside = self._in_scene(points, viewdirs)
        ndc = self._scene.ndc
        positions = inside.origins if ndc is None else ndc.warp_points(inside.origins)
        rgb, density = query_points(self._model, positions, inside.viewdirs)
        return {"rgb": rgb, "density": density / self._scene.depth_scale}

    def _in_scene(self, origins: tf.Tensor, directions: tf.Tensor) -> Rays:
        """World rays in scene units; directions keep their length, so depths are scene units."""
        rotation = self._to_scene[:3, :3] * self._scene.world_scale
        directions = tf.matmul(directions, rotation, transpose_b=True)
        return Rays(
            tf.matmul(origins, self._to_scene[:3, :3], transpose_b=True) + self._to_scene[:3, 3],
            directions,
            directions / tf.norm(directions, axis=-1, keepdims=True),
        )


@dataclasses.dataclass(frozen=True)
class _Networks:
    """In the place of a `NeRF`: its networks with other weights."""

    coarse: Callable[..., tf.Tensor]
    finest: Callable[..., tf.Tensor]


def _with_weights(network: RadianceField, weights: list[tf.Variable]) -> Callable[..., tf.Tensor]:
    """The network, evaluated in float32 with the given weights instead of its own."""

    def call(positions: tf.Tensor, viewdirs: tf.Tensor) -> tf.Tensor:
        values = [tf.cast(weight, tf.float32) for weight in weights]
        raw, _ = network.stateless_call(values, [], positions, viewdirs)
        return raw

    return call


def _in_chunks(
    function: Callable[..., dict[str, tf.Tensor]],
    inputs: list[tf.Tensor],
    chunk: int,
    widths: dict[str, int | None],
) -> dict[str, tf.Tensor]:
    """Applies a function to a bounded number of rows at a time.

    Args:
      function: tensors [n, ...] to named tensors [n] or [n, width].
      inputs: tensors [N, ...].
      chunk: how many rows at a time.
      widths: of the results; None: [N].
    """
    with tf.control_dependencies(_length_checks(inputs)):
        num_rows = tf.shape(inputs[0])[0]
        num_chunks = (num_rows + chunk - 1) // chunk
    results = {
        name: tf.TensorArray(
            tf.float32,
            num_chunks,
            infer_shape=False,
            element_shape=[None] if width is None else [None, width],
        )
        for name, width in widths.items()
    }

    def step(index: tf.Tensor, results: dict[str, tf.TensorArray]) -> tuple:
        rows = slice(index * chunk, (index + 1) * chunk)
        values = function(*(tensor[rows] for tensor in inputs))
        return index + 1, {name: results[name].write(index, values[name]) for name in widths}

    _, results = tf.while_loop(
        lambda index, _: index < num_chunks, step, (0, results), parallel_iterations=1
    )
    return {name: results[name].concat() for name in widths}


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
