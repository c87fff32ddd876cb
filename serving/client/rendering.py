"""A client of served scenes: cameras or rays out, colours and depths back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import grpc
import numpy as np
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.client.channel import (
    ServerError,
    Tls,
    open_channel,
    server_error,
    wait_until_connected,
)
from serving.client.prediction import PredictionClient
from tfnerf.geometry.cameras import Cameras
from tfnerf.geometry.conditions import Condition


class VersionStatus(NamedTuple):
    """A version of the model."""

    version: int
    state: str
    error: str


class RenderedView(NamedTuple):
    """A picture of a served scene."""

    rgb: np.ndarray
    """[H, W, 3] float32, 0 to 1."""
    depth: np.ndarray
    """[H, W] float32, world units; in NDC for scenes in NDC."""
    disparity: np.ndarray
    """[H, W] float32"""
    opacity: np.ndarray
    """[H, W] float32"""
    version: int
    """Of the model: one for the whole picture."""


class RenderClient:
    """Asks one or several servers for a model; a context manager.

    Args:
      servers: host:port of each; they take turns, see `open_channel`.
      model_name: of the model.
      version: of it; None: the newest.
      seconds: that a request may take.
      rows_per_request: rays or points in one.
      patient: to wait, as long as a request may take, for a server that is gone to come back; else
        that is an error after some seconds.
      tls: what to encrypt with; None: without TLS.

    Raises:
      ServerError: the name of a server cannot be looked up.
    """

    def __init__(
        self,
        servers: Sequence[str],
        model_name: str,
        *,
        version: int | None = None,
        seconds: float = 60.0,
        rows_per_request: int = 16_384,
        patient: bool = True,
        tls: Tls | None = None,
    ):
        self._model_name = model_name
        self._version = version
        self._seconds = seconds
        self._terms = {"timeout": seconds, "wait_for_ready": patient}
        self._channel = open_channel(servers, tls)
        self._ask_status = model_service_pb2_grpc.ModelServiceStub(self._channel).GetModelStatus
        self._prediction = PredictionClient(
            self._channel,
            model_name,
            version=version,
            seconds=seconds,
            rows_per_request=rows_per_request,
            patient=patient,
        )
        self._connected = False
        self._scene: dict[str, Any] | None = None
        self._scene_version = 0

    def __enter__(self) -> RenderClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._channel.close()

    def status(self) -> list[VersionStatus]:
        """The versions of the model, newest first."""
        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = self._model_name
        if self._version is not None:
            request.model_spec.version.value = self._version
        with self._asking():
            response = self._ask_status(request, **self._terms)
        state = get_model_status_pb2.ModelVersionStatus.State
        return [
            VersionStatus(each.version, state.Name(each.state), each.status.error_message)
            for each in response.model_version_status
        ]

    def describe(self) -> dict[str, Any]:
        """What the scene is; see `describe_scene` in docs/serving.md."""
        scene = self._scene  # another thread may forget it meanwhile
        if scene is None:
            inputs = {"index": np.zeros(1, np.int32)}
            with self._asking():
                outputs, version = self._prediction.predict("describe_scene", inputs)
            try:
                scene = dict(json.loads(outputs["scene"][0]))
            except (LookupError, ValueError, TypeError):
                raise ServerError("describe_scene: found no description of a scene") from None
            self._scene, self._scene_version = scene, version
        return scene

    @property
    def conditions(self) -> dict[str, Condition]:
        """What pictures of the scene depend on beside cameras, by name; mostly nothing."""
        described = self.describe().get("conditions", {})
        return {name: Condition.from_json(content) for name, content in described.items()}

    @property
    def scene_version(self) -> int:
        """The version that `describe` tells of."""
        self.describe()
        return self._scene_version

    def camera_path(self) -> Cameras:
        """The cameras that the scene proposes, in world coordinates."""
        return self.cameras(np.array(self.describe()["camera_path"]["camera_to_world"]))

    def cameras(self, camera_to_world: np.ndarray) -> Cameras:
        """Cameras like those that took the training images.

        Args:
          camera_to_world: [V, 3, 4], world coordinates.
        """
        scene = self.describe()
        return Cameras.pinhole(camera_to_world, scene["height"], scene["width"], scene["focal"])

    def render(
        self,
        cameras: Cameras,
        view: int,
        progress: Callable[[int], object] | None = None,
        version: int | None = None,
    ) -> RenderedView:
        """Renders the view of one camera.

        Args:
          cameras: in world coordinates.
          view: index of the one to render.
          progress: called with the number of rays done; a negative one takes back what is asked for
            again.
          version: that has to answer; None: the client's.

        Raises:
          ServerError: the server does not answer with it.
        """
        rays = cameras.image_rays(view, pixel_centers=self.describe()["pixel_centers"])
        outputs, version = self.render_rays(
            rays.origins.numpy(), rays.directions.numpy(), progress, version, rays.conditions
        )
        if version != self._scene_version:
            self._scene = None  # another version may describe another scene
        shape = (cameras.height, cameras.width)
        return RenderedView(
            rgb=outputs["rgb"].reshape(*shape, 3),
            depth=outputs["depth"].reshape(shape),
            disparity=outputs["disparity"].reshape(shape),
            opacity=outputs["opacity"].reshape(shape),
            version=version,
        )

    def render_rays(
        self,
        origins: np.ndarray,
        directions: np.ndarray,
        progress: Callable[[int], object] | None = None,
        version: int | None = None,
        conditions: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, np.ndarray], int]:
        """Renders rays.

        Args:
          origins: [N, 3], world coordinates.
          directions: [N, 3]; depths count in their lengths.
          progress: called with the number of rays done.
          version: that has to answer; None: the client's.
          conditions: a row [N, ...] per ray of each condition that the scene has, by its name.

        Returns:
          rgb [N, 3], depth [N], disparity [N] and opacity [N] by their names, and the version that
          answered.

        Raises:
          ServerError: the server does not answer with them.
          ValueError: the arrays are of other shapes.
        """
        inputs = _as_float32(conditions, origins=origins, directions=directions)
        with self._asking():
            return self._prediction.predict("serving_default", inputs, progress, version)

    def query_points(
        self,
        points: np.ndarray,
        viewdirs: np.ndarray,
        conditions: Mapping[str, Any] | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """What is at points.

        Args:
          points: [N, 3], world coordinates.
          viewdirs: [N, 3], the directions that they are seen along.
          conditions: a row [N, ...] per point of each condition that the scene has, by its name.

        Returns:
          Colours [N, 3] and densities [N].

        Raises:
          ServerError: the server does not answer with them.
          ValueError: the arrays are of other shapes.
        """
        inputs = _as_float32(conditions, points=points, viewdirs=viewdirs)
        with self._asking():
            outputs, _ = self._prediction.predict("query_points", inputs)
        return outputs["rgb"], outputs["density"]

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Connects first if need be, and turns what goes wrong into a ServerError."""
        if not self._connected:
            wait_until_connected(self._channel, self._seconds)
            self._connected = True
        try:
            yield
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT):
                self._scene = None  # another version may be there, of another scene
            raise server_error(error) from None


def _as_float32(
    conditions: Mapping[str, Any] | None, **arrays: np.ndarray
) -> dict[str, np.ndarray]:
    """Arrays [N, 3] of any kind of number, and conditions [N, ...], as messages hold them.

    That is as float32 in native byte order.
    """
    inputs = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    shapes = {array.shape for array in inputs.values()}
    if len(shapes) > 1 or not all(len(shape) == 2 and shape[1] == 3 for shape in shapes):
        found = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        raise ValueError(f"found {found}; expected [N, 3] each")
    rows = {name: np.asarray(array, np.float32) for name, array in (conditions or {}).items()}
    num_rows = len(next(iter(inputs.values())))
    for name, array in rows.items():
        if array.ndim == 0 or len(array) != num_rows:
            raise ValueError(f"found {name} {list(array.shape)}; expected {num_rows} rows")
    return {**inputs, **rows}
