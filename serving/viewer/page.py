"""A web page on which the mouse goes around a served scene."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from typing import Any, Literal
from urllib.parse import urlsplit

import numpy as np
import viser
import viser.transforms
import websockets.asyncio.server

from serving.client.rendering import RenderClient, RenderedView
from serving.ports import check_free
from serving.viewer.refinement import Look, Refinement
from tfnerf.images import color_depth, color_map, opaque_depth, to_8bit

_SHOWN = ("color", "depth", "opacity")
_MIN_HEIGHT, _MAX_HEIGHT = 32, 1080
"""Of a picture, pixels."""
_FIRST_HEIGHT = 256
"""Of the finest picture at first, unless the training images are higher."""
_FIELDS_OF_VIEW = (0.02, 3.0)
_ASPECTS = (0.1, 10.0)
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
        self._scene = client.describe()
        self._browsers: dict[int, _Browser] = {}
        check_free(host, port)
        with _own_pages_only(), contextlib.redirect_stdout(io.StringIO()):  # a table of addresses
            self.server = _Server(host, port, label=name, verbose=False)
        # It logs a traceback for whatever is no request, so anyone could fill the log.
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        self.server.gui.configure_theme(show_logo=False, show_share_button=False)
        _place_first_camera(self.server, self._scene, client)
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
        self._browsers[handle.client_id] = _Browser(handle, self._client, self._name, self._scene)

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

    def __init__(
        self, handle: viser.ClientHandle, client: RenderClient, name: str, scene: dict[str, Any]
    ):
        self._handle = handle
        self._name = name
        self._scene = scene
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
        self._status = handle.gui.add_markdown("")
        self._refinement = Refinement(client, self._show, self._fail)
        handle.camera.on_update(self._look)
        self._height.on_update(self._look)
        self._shown.on_update(lambda _: self._paint())
        self._look_now()

    def close(self) -> None:
        self._refinement.close()

    # On viser's event loop, so that no older camera comes after a newer one.
    async def _look(self, _: object) -> None:
        self._look_now()

    def _look_now(self) -> None:
        look = look_through(self._handle.camera, self._height.value)
        if look is not None:
            self._refinement.look(look)

    def _show(self, view: RenderedView, seconds: float) -> None:
        height, width = view.depth.shape
        self._view = view
        self._paint()
        self._status.content = (
            f"{self._name}, version {view.version}: {width} x {height} pixels in {seconds:.2f} s"
        )

    def _fail(self, text: str) -> None:
        self._status.content = f"**No picture**: {text}"

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


def _place_first_camera(
    server: viser.ViserServer, scene: dict[str, Any], client: RenderClient
) -> None:
    """Puts new browsers where the scene's camera path begins."""
    camera_to_world = client.camera_path().camera_to_world[0].astype(float)
    back, position = camera_to_world[:, 2], camera_to_world[:, 3]
    distance = max((position - np.array(scene["target"])) @ back, 1e-3)
    server.scene.set_up_direction(tuple(scene["up"]))
    server.initial_camera.position = position
    server.initial_camera.look_at = position - distance * back
    server.initial_camera.fov = float(2 * np.arctan(scene["height"] / 2 / scene["focal"]))
