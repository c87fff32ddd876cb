"""Pictures for someone who looks around: coarse at once, finer while the camera is still."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from serving.client.channel import ServerError
from serving.client.rendering import RenderClient, RenderedView
from tfnerf.geometry.cameras import Cameras

_COARSE_SECONDS = 0.15
"""What the first picture may take."""
_STILL_SECONDS = 0.2
"""A camera that did not move for so long is looked through in earnest."""
_RETRY_SECONDS = 2.0
"""Until a server that failed is asked again."""
_MIN_HEIGHT = 16
_FIRST_RATE = 10_000.0
"""Rays a second, until it is measured."""


class Look(NamedTuple):
    """What is to be seen."""

    camera_to_world: np.ndarray
    """[3, 4], world coordinates."""
    field_of_view: float
    """Radians, from the top to the bottom of the picture."""
    aspect: float
    """Width divided by height."""
    height: int
    """Of the finest picture, pixels."""
    conditions: dict[str, np.ndarray] | None = None
    """A row [1, ...] of each condition that the scene has."""

    def cameras(self, height: int) -> Cameras:
        """The camera of a picture of so many pixels from top to bottom."""
        width = max(1, round(height * self.aspect))
        focal = height / 2 / np.tan(self.field_of_view / 2)
        pose = self.camera_to_world[np.newaxis]
        return Cameras.pinhole(pose, height, width, focal, self.conditions)


class _MovedError(Exception):
    """The camera has moved on."""


class Refinement:
    """A thread that renders what was last looked at.

    The first picture is as coarse as it must be to come at once, and is always finished, so that
    there is something to see during a movement. When the camera stays where it is, others follow,
    each finer than the one before; they are given up as soon as it moves.

    Args:
      client: of the scene.
      show: called with each picture and the seconds that it took.
      fail: called with a line of text when no picture can be made; it is tried again.
    """

    def __init__(
        self,
        client: RenderClient,
        show: Callable[[RenderedView, float], object],
        fail: Callable[[str], object],
    ):
        self._client = client
        self._show = show
        self._fail = fail
        self._rays_per_second = _FIRST_RATE
        self._condition = threading.Condition()
        self._next: Look | None = None
        self._closed = False
        threading.Thread(target=self._run, name="refinement", daemon=True).start()

    def look(self, look: Look) -> None:
        """Looks at this instead from now on."""
        with self._condition:
            self._next = look
            self._condition.notify()

    def close(self) -> None:
        """Ends the thread."""
        with self._condition:
            self._closed = True
            self._condition.notify()

    def _run(self) -> None:
        while (look := self._wait_for_look()) is not None:
            try:
                self._refine(look)
            except _MovedError:
                continue
            except ServerError as error:
                self._fail(str(error))
                self._retry(look)

    def _wait_for_look(self) -> Look | None:
        """What to look at next; None: the end."""
        with self._condition:
            self._condition.wait_for(self._has_moved)
            look, self._next = self._next, None
            return None if self._closed else look

    def _refine(self, look: Look) -> None:
        first, *finer = self._heights(look)
        self._render(look, first)
        if finer and not self._moves_within(_STILL_SECONDS):
            for height in finer:
                self._render(look, height, self._give_up_if_moved)

    def _heights(self, look: Look) -> list[int]:
        """Of the pictures, coarsest first."""
        num_rays = self._rays_per_second * _COARSE_SECONDS
        coarse = max(_MIN_HEIGHT, int(np.sqrt(num_rays / look.aspect)))
        heights = [look.height]
        while heights[0] >= 3 * coarse:
            heights.insert(0, heights[0] // 2)
        return [coarse, *heights] if coarse < heights[0] else heights

    def _render(
        self, look: Look, height: int, progress: Callable[[int], object] | None = None
    ) -> None:
        cameras = look.cameras(height)
        begin = time.perf_counter()
        view = self._client.render(cameras, 0, progress)
        seconds = time.perf_counter() - begin
        if self._closed:
            raise _MovedError
        self._rays_per_second = cameras.height * cameras.width / seconds
        self._show(view, seconds)

    def _retry(self, look: Look) -> None:
        if not self._moves_within(_RETRY_SECONDS):
            with self._condition:
                self._next = self._next or look

    def _moves_within(self, seconds: float) -> bool:
        with self._condition:
            return self._condition.wait_for(self._has_moved, seconds)

    def _give_up_if_moved(self, _: int) -> None:
        if self._has_moved():
            raise _MovedError

    def _has_moved(self) -> bool:
        return self._closed or self._next is not None
