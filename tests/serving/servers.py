"""Servers of small scenes in processes of their own, and what to ask them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import keras
import numpy as np
import tensorflow as tf
from commands import signal_other_thread, start
from grpc_health.v1 import health_pb2, health_pb2_grpc
from small import RENDERING, small_renderer, small_scene
from tensorflow_serving.apis import (
    predict_pb2,
    prediction_service_pb2_grpc,
)

from export.served_scene import ServedScene
from export.warm_up import write_warm_up
from tfnerf.geometry.paths import orbit_path

RAYS = {
    "origins": np.tile(np.float32([0, 0, 4]), [7, 1]),
    "directions": np.float32([[x / 10, 0.1, -1] for x in range(7)]),
}


SCENE = {
    "pixel_centers": True,
    "width": 16,
    "height": 12,
    "focal": 24.0,
    "camera_path": {"name": "orbit", "camera_to_world": orbit_path(4).tolist()},
}


HUGE = {
    "camera_to_world": orbit_path(1).astype(np.float32),
    "focal": np.float32([4000]),
    "height": np.int32([4096]),
    "width": np.int32([4096]),
}
"""A picture that takes many minutes."""


def make_version(folder: Path, seed: int) -> Path:
    keras.utils.set_random_seed(seed)
    scene = small_scene()
    renderer = small_renderer(scene)
    renderer.model.set_weights([3 * weight for weight in renderer.model.get_weights()])
    served = ServedScene(renderer, scene, RENDERING, tf.float32, json.dumps(SCENE))
    tf.saved_model.save(served, str(folder), signatures=served.signatures())
    description = {"camera_path": {"camera_to_world": orbit_path(4)}, "focal": 24.0}
    write_warm_up(folder, "disc", scene, description)
    return folder


def publish(version: Path, base_path: Path, number: int) -> Path:
    """Puts a copy in place as an exporter does: whole, or not there."""
    aside = base_path / f".{number}"
    shutil.copytree(version, aside)
    aside.rename(base_path / str(number))
    return base_path / str(number)


class Server:
    """A serving.server in a process of its own."""

    def __init__(self, *arguments: str, port: int = 0):
        self.process = start("serving.server", *arguments, f"--port={port}", "--poll_seconds=0.1")
        self.lines: list[dict[str, Any]] = []
        for line in self.process.stdout:  # type: ignore[union-attr]
            self.lines.append(self._parse(line))
            if self.lines[-1]["message"] == "serving":
                break
        else:
            raise AssertionError(self.lines)
        self.address = self.lines[-1]["address"]
        self.metrics_address = self.lines[-1].get("metrics_address", "")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:  # type: ignore[union-attr]
            self.lines.append(self._parse(line))

    def _parse(self, line: str) -> dict[str, Any]:
        return json.loads(line) if line.startswith("{") else {"message": line}

    def stop(self, number: int = signal.SIGTERM) -> int:
        signal_other_thread(self.process, number)
        status = self.process.wait(timeout=60)
        self._reader.join(timeout=10)
        return status


Serve = Callable[..., Server]


def stub_of(server: Server) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(grpc.insecure_channel(server.address))


def health_of(channel: grpc.Channel, service: str = "") -> str:
    request = health_pb2.HealthCheckRequest(service=service)
    answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=30)
    return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)


def request_of(inputs: dict[str, np.ndarray], signature: str = "", name: str = "disc") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
    return request


def memory_of(process: subprocess.Popen) -> int:
    """Resident, in kB."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])


def requests_of(server: Server) -> dict[str, float]:
    """How many Predict requests a server has answered, by their code."""
    pattern = r'tfnerf_requests_total{code="(\w+)",method="Predict".*} (.*)'
    return {code: float(count) for code, count in re.findall(pattern, metrics_of(server))}


def in_progress(server: Server) -> float:
    """How many requests wait or run."""
    return float(re.findall(r"(?m)^tfnerf_requests_in_progress (.*)", metrics_of(server))[0])


def metrics_of(server: Server) -> str:
    url = f"http://{server.metrics_address}/metrics"
    return urllib.request.urlopen(url, timeout=30).read().decode()
