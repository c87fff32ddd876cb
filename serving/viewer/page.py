"""A web page on which the mouse goes around a served scene."""

from __future__ import annotations

import contextlib
import io
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import viser
import viser.transforms
import websockets.asyncio.server

from serving.client.channel import ServerError
from serving.client.rendering import RenderClient, RenderedView
from serving.ports import check_free
from serving.viewer.controls import ConditionControls
from serving.viewer.refinement import Look, Refinement
from tfnerf.images import color_depth, color_map, opaque_depth, to_8bit

_SHOWN = ("color", "depth", "opacity")
_MIN_HEIGHT, _MAX_HEIGHT = 32, 1080
"""Of a picture, pixels."""
_FIRST_HEIGHT = 256
"""Of the finest picture at first, unless the training images are higher."""
_FIELDS_OF_VIEW = (0.02, 3.0)
_ASPECTS = (0.1, 10.0)
_PATH_SECONDS, _TIME_SECONDS = 12.0, 4.0
"""That playing the whole camera path, or all times, takes."""
_JPEG_QUALITY = 90
_MIN_JPEG = 300
"""Height from which on pictures are sent as JPEG, pixels."""


class ScenePage:
    """Serves the page. Each browser has a camera, controls and a thread of its own.

    Args:
      client: of the scene.
      name: of the scene, the title of the page.
      host: address to listen on.
      port: to listen on.

    Raises:
      ServerError: the scene's server does not describe it.
      UserError: the port is not free.
    """

    def __init__(self, client: RenderClient, name: str, host: str, port: int):
        self._client = client
        self._name = name
        self._browsers: dict[int, _Browser] = {}
        client.describe()  # or fail before anything is served
        check_free(host, port)
        with _own_pages_only(), contextlib.redirect_stdout(io.StringIO()):  # a table of addresses
            self.server = _Server(host, port, label=name, verbose=False)
        # It logs a traceback for whatever is no request, so anyone could fill the log.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        self.server.gui.configure_theme(show_logo=False, show_share_button=False)
        _place_first_camera(self.server, client)
        self.server.on_client_connect(self._open)
        self.server.on_client_disconnect(self._close)

    def close(self) -> None:
        """Stops serving."""
        for browser in list(self._browsers.values()):
            browser.close()
        with contextlib.redirect_stdout(io.StringIO()):
            self.server.stop()

    # On viser's event loop, so that a browser is never closed before it is open.
    async def _open(self, handle: viser.ClientHandle) -> None:
        try:
            self._browsers[handle.client_id] = _Browser(handle, self._client, self._name)
        except ServerError as error:
            handle.gui.add_markdown(f"**No picture**: {error}. Load the page again.")

    async def _close(self, handle: viser.ClientHandle) -> None:
        browser = self._browsers.pop(handle.client_id, None)
        if browser is not None:
            browser.close()


class _Server(viser.ViserServer):
    """Without viser's tunnel to a public server, which any browser could ask for."""

    def request_share_url(self, verbose: bool = True) -> None:
        """Opens none."""


class _Browser:
    """What one browser shows."""

    def __init__(self, handle: viser.ClientHandle, client: RenderClient, name: str):
        self._handle = handle
        self._client = client
        self._name = name
        self._scene = scene = client.describe()
        self._version = client.scene_version
        self._view: RenderedView | None = None
        self._shown = handle.gui.add_dropdown("Show", _SHOWN, initial_value=_SHOWN[0])
        self._height = handle.gui.add_slider(
            "Height",
            _MIN_HEIGHT,
            _MAX_HEIGHT,
            step=1,
            initial_value=int(np.clip(scene["height"], _FIRST_HEIGHT, _MAX_HEIGHT)),
            hint="Of the finest picture, pixels",
        )
        self._controls = ConditionControls(handle.gui, client.conditions, self._look)
        self._plays_path = handle.gui.add_checkbox("Play the camera path", False)
        self._plays_time = handle.gui.add_checkbox("Play", False, visible=self._controls.moves)
        self._began_playing = 0.0
        self._status = handle.gui.add_markdown("")
        self._refinement = Refinement(client, self._show, self._fail)
        handle.camera.on_update(self._look)
        self._height.on_update(self._look)
        self._shown.on_update(lambda _: self._paint())
        for box in (self._plays_path, self._plays_time):
            box.on_update(self._begin_playing)
        self._look_now()

    def close(self) -> None:
        self._refinement.close()

    # On viser's event loop, so that no older camera comes after a newer one.
    async def _look(self, _: object) -> None:
        self._look_now()

    def _look_now(self) -> None:
        look = look_through(self._handle.camera, self._height.value)
        if look is not None:
            self._refinement.look(look._replace(conditions=self._controls.rows()))

    async def _begin_playing(self, _: object) -> None:
        self._began_playing = time.monotonic()
        self._look_now()

    def _go_on(self) -> None:
        """To where what is played is by now; each picture that is shown asks for the next."""
        seconds = time.monotonic() - self._began_playing
        if self._plays_path.value:
            pose = _pose_along(self._client.camera_path().camera_to_world, seconds / _PATH_SECONDS)
            with self._handle.atomic():
                self._handle.camera.position = pose[:, 3]
                self._handle.camera.look_at = _looked_at(pose, self._scene)
        if self._plays_time.value and self._controls.moves:
            self._controls.play(seconds / _TIME_SECONDS % 1)

    def _take_over(self) -> None:
        """What the scene is now: another version may be of another scene."""
        self._scene, self._version = self._client.describe(), self._client.scene_version
        if self._client.conditions != self._controls.conditions:
            self._controls.remove()
            self._controls = ConditionControls(
                self._handle.gui, self._client.conditions, self._look
            )
            self._plays_time.visible = self._controls.moves

    def _show(self, view: RenderedView, seconds: float) -> None:
        height, width = view.depth.shape
        if view.version != self._version:
            self._take_over()
            self._look_now()
        self._view = view
        self._paint()
        self._status.content = (
            f"{self._name}, version {view.version}: {width} x {height} pixels in {seconds:.2f} s"
        )
        self._go_on()

    def _fail(self, text: str) -> None:
        self._status.content = f"**No picture**: {text}"
        with contextlib.suppress(ServerError):
            if self._client.scene_version != self._version:
                self._take_over()
                self._look_now()

    def _paint(self) -> None:
        if self._view is not None:
            picture = color_view(
                self._view, self._shown.value, self._scene["near"], self._scene["far"]
            )
            # JPEG's blotches would be enlarged with a small picture.
            kind: Literal["png", "jpeg"] = "png" if len(picture) < _MIN_JPEG else "jpeg"
            self._handle.scene.set_background_image(picture, kind, jpeg_quality=_JPEG_QUALITY)


@contextlib.contextmanager
def _own_pages_only() -> Iterator[None]:
    """Makes viser servers that start meanwhile refuse web sockets of pages of other origins.

    Browsers let any page connect to loopback; the page of a stranger could look on.
    """
    serve = websockets.asyncio.server.serve

    def serve_own(*arguments: Any, process_request: Callable, **options: Any) -> Any:
        def check(connection: Any, request: Any) -> Any:
            origin = request.headers.get("Origin")
            if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
                return connection.respond(403, f"found a page of {origin}\n")
            return process_request(connection, request)

        return serve(*arguments, process_request=check, **options)

    websockets.asyncio.server.serve = serve_own  # type: ignore[misc, assignment]
    try:
        yield
    finally:
        websockets.asyncio.server.serve = serve  # type: ignore[misc]


def color_view(view: RenderedView, shown: str, near: float, far: float) -> np.ndarray:
    """A picture [H, W, 3] uint8 of the `shown` of a view: color, depth or opacity."""
    if shown == "depth":
        return color_depth(opaque_depth(view.depth, view.opacity, far), near, far)
    if shown == "opacity":
        return color_map(view.opacity, "gray")
    return to_8bit(view.rgb)


def look_through(camera: viser.CameraHandle, height: int) -> Look | None:
    """What a browser's camera sees; None if the browser does not send sensible numbers."""
    with np.errstate(invalid="ignore"):
        axes = viser.transforms.SO3(camera.wxyz).normalize().as_matrix()
    # Its axes are right, down and forward.
    pose = np.concatenate([axes * [1, -1, -1], camera.position[:, np.newaxis]], -1)
    if not np.isfinite([*pose.flat, camera.fov, camera.aspect, height]).all():
        return None
    return Look(
        camera_to_world=pose,
        field_of_view=float(np.clip(camera.fov, *_FIELDS_OF_VIEW)),
        aspect=float(np.clip(camera.aspect, *_ASPECTS)),
        height=int(np.clip(height, _MIN_HEIGHT, _MAX_HEIGHT)),
    )


def _pose_along(poses: np.ndarray, share: float) -> np.ndarray:
    """Where on a path of cameras [V, 3, 4] one is after a share of it, [3, 4], round and round.

    Between two that are near each other; its axes are not quite at right angles.
    """
    place = share * len(poses)
    before, part = int(place) % len(poses), place % 1
    after = min(before + 1, len(poses) - 1)
    pose: np.ndarray = (1 - part) * poses[before].astype(float) + part * poses[after]
    return pose


def _looked_at(pose: np.ndarray, scene: dict[str, Any]) -> np.ndarray:
    """The point [3] on the axis of a camera [3, 4] that is nearest to the middle of the scene."""
    back, position = pose[:, 2], pose[:, 3]
    distance = max((position - np.array(scene["target"])) @ back, 1e-3)
    return position - distance * back


def _place_first_camera(server: viser.ViserServer, client: RenderClient) -> None:
    """Puts new browsers where the scene's camera path begins."""
    scene = client.describe()
    pose = client.camera_path().camera_to_world[0].astype(float)
    server.scene.set_up_direction(tuple(scene["up"]))
    server.initial_camera.position = pose[:, 3]
    server.initial_camera.look_at = _looked_at(pose, scene)
    server.initial_camera.fov = float(2 * np.arctan(scene["height"] / 2 / scene["focal"]))
