"""Whole images, in chunks of rays, so that memory does not grow with the image."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfnerf.errors import UserError
from tfnerf.fields.field import Conditions
from tfnerf.geometry.cameras import Cameras, Rays
from tfnerf.geometry.lenses import LensKind
from tfnerf.settings import RenderSettings
from tfnerf.volume.devices import picture_rays_per_chunk, uses_xla
from tfnerf.volume.scene_renderer import SceneRenderer

_SECONDS_PER_CALL = 1.0
"""How long a call into the graph may take: until then no bar moves and no signal is answered."""

_CHANNELS = 7
"""Of an `Image`."""


class Image(NamedTuple):
    """A rendered view, as NumPy arrays."""

    rgb: np.ndarray
    """[H, W, 3] float32, 0 to 1."""
    depth: np.ndarray
    """[H, W] float32, in the coordinates of the networks."""
    disparity: np.ndarray
    """[H, W] float32"""
    opacity: np.ndarray
    """[H, W] float32, 0 to 1."""
    scene_depth: np.ndarray
    """[H, W] float32, how far what is seen is, scene units; 0 where little is seen."""


class _View(NamedTuple):
    """One of the `Cameras` as tensors."""

    camera_to_world: tf.Tensor
    focal: tf.Tensor
    center: tf.Tensor
    distortion: tf.Tensor | None
    """None where there is none, so that nothing is computed."""
    height: tf.Tensor
    width: tf.Tensor
    conditions: Conditions | None
    lens: LensKind
    """No tensor: each kind is compiled apart."""


class ImageRenderer:
    """Renders whole images: one call into the graph each, or one a second where they take long.

    Args:
      renderer: of the scene.
      settings: how many rays at a time, and whether to compile them.
      strategy: devices that share the work, those that the networks are on; None: the current ones.
    """

    def __init__(
        self,
        renderer: SceneRenderer,
        settings: RenderSettings,
        strategy: tf.distribute.Strategy | None = None,
    ):
        self._renderer = renderer
        self._strategy = strategy or tf.distribute.get_strategy()
        ones = self._strategy.run(lambda: tf.constant(1))
        self._num_devices = len(self._strategy.experimental_local_results(ones))
        self._rays_per_chunk = picture_rays_per_chunk(
            settings, renderer.sampler, renderer.model.final
        )
        self._render_rays = tf.function(
            self._render_packed, jit_compile=uses_xla(settings), autograph=False
        )
        self._render_chunks = tf.function(self._render_on_all_devices, autograph=False)
        self._seconds_per_chunk: dict[tuple[int, bool], float] = {}
        """By what is compiled apart: the size of a chunk, and whether it has other directions."""
        self.num_calls = 0
        """Into the graph."""

    @property
    def fingerprint(self) -> str:
        """Of all that pictures depend on beside the cameras."""
        return self._renderer.fingerprint

    def __call__(
        self,
        cameras: Cameras,
        view: int,
        progress: Callable[[int], object] | None = None,
        *,
        viewdirs_of: int | None = None,
    ) -> Image:
        """Renders the view of one camera.

        Args:
          cameras: cameras.
          view: index of the one to render.
          progress: called with the number of rays after each call into the graph.
          viewdirs_of: index of the camera whose view directions and conditions hold; None: `view`.

        Raises:
          UserError: the networks answer with colours that are not finite.
        """
        num_rays = cameras.height * cameras.width
        chunk = min(self._rays_per_chunk, num_rays)
        num_chunks = math.ceil(num_rays / chunk)
        seen = _as_tensors(cameras, view)
        seen_along = None if viewdirs_of is None else _as_tensors(cameras, viewdirs_of)
        packed = []
        first = 0
        while first < num_chunks:
            num_each = self._chunks_per_call(chunk, viewdirs_of is not None, num_chunks - first)
            packed += self._call(seen, seen_along, chunk, first, num_each)
            done = min(num_each * self._num_devices, num_chunks - first)
            if progress is not None:
                progress(min(done * chunk, num_rays - first * chunk))
            first += done
        pixels = np.concatenate(packed)[:num_rays].reshape(
            [cameras.height, cameras.width, _CHANNELS]
        )
        if not np.isfinite(pixels[..., :3]).all():
            raise UserError(
                f"view {view}: the networks render colours that are not finite; their weights are "
                "damaged, or the camera is"
            )
        return Image(pixels[..., :3], *(pixels[..., part] for part in range(3, _CHANNELS)))

    def _chunks_per_call(self, chunk: int, relit: bool, most: int) -> int:
        """How many chunks each device renders in a call, so that it takes about a second."""
        seconds = self._seconds_per_chunk.get((chunk, relit))
        wanted = 1 if seconds is None else int(_SECONDS_PER_CALL / max(seconds, 1e-6))
        return max(1, min(wanted, math.ceil(most / self._num_devices)))

    def _call(
        self, seen: _View, seen_along: _View | None, chunk: int, first: int, num_each: int
    ) -> list[np.ndarray]:
        """Chunks from the `first` on, `num_each` of each device: arrays [num_each * chunk, 7]."""
        begin = time.perf_counter()
        per_device = self._strategy.experimental_local_results(
            self._render_chunks(seen, seen_along, chunk, tf.constant(first), tf.constant(num_each))
        )
        packed = [part.numpy() for part in per_device]
        self.num_calls += 1
        key = chunk, seen_along is not None
        if key in self._seconds_per_chunk:
            self._seconds_per_chunk[key] = (time.perf_counter() - begin) / num_each
        else:  # this one was traced first; the next tells more
            self._seconds_per_chunk[key] = math.inf
        return packed

    def _render_on_all_devices(
        self,
        seen: _View,
        seen_along: _View | None,
        chunk: int,
        first: tf.Tensor,
        num_each: tf.Tensor,
    ) -> tf.Tensor:
        """[num_each * chunk, 7] on each device."""

        def render_share() -> tf.Tensor:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            begin = first + tf.cast(replica, tf.int32) * num_each
            last_pixel = seen.height * seen.width - 1

            def render_one(index: tf.Tensor) -> tf.Tensor:
                # What is beyond the last pixel repeats it, so that one shape is compiled.
                pixels = tf.minimum((begin + index) * chunk + tf.range(chunk), last_pixel)
                return self._render_rays(self._rays(seen, seen_along, pixels))

            # One after the other, or they would be in memory together.
            chunks = tf.map_fn(
                render_one,
                tf.range(num_each),
                parallel_iterations=1,
                fn_output_signature=tf.TensorSpec([chunk, _CHANNELS], tf.float32),
            )
            return tf.reshape(chunks, [-1, _CHANNELS])

        return self._strategy.run(render_share)

    def _rays(self, seen: _View, seen_along: _View | None, pixels: tf.Tensor) -> Rays:
        """Rays through pixels [N] that are counted row by row."""
        pixel_centers = self._renderer.pixel_centers
        rays = _camera(seen).pixel_rays(0, pixels, pixel_centers=pixel_centers)
        if seen_along is None:
            return rays
        along = _camera(seen_along).pixel_rays(0, pixels, pixel_centers=pixel_centers)
        return rays._replace(viewdirs=along.viewdirs, conditions=along.conditions)

    def _render_packed(self, rays: Rays) -> tf.Tensor:
        """Colour and the rest of an `Image` of N rays in one tensor [N, 7]."""
        final = self._renderer.render(rays).final
        scene_depth = self._renderer.scene_depth(rays, final)
        scalars = tf.stack([final.depth, final.disparity, final.opacity, scene_depth], -1)
        return tf.concat([final.rgb, scalars], -1)


def _as_tensors(cameras: Cameras, view: int) -> _View:
    one = cameras[view : view + 1]
    tensors: _View = tf.nest.map_structure(
        lambda value: value if value is None or isinstance(value, str) else tf.constant(value),
        _View(
            one.camera_to_world,
            one.focal,
            one.center,
            one.distortion if one.distortion.any() else None,
            one.height,
            one.width,
            one.conditions,
            one.lens,
        ),
    )
    return tensors


def _camera(view: _View) -> Cameras:
    distortion = np.zeros([1, 4], np.float32) if view.distortion is None else view.distortion
    return Cameras(**{**view._asdict(), "distortion": distortion})
