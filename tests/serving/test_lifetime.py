"""Starts, stops, queues and deadlines of a server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from commands import wait_until
from servers import (
    HUGE,
    RAYS,
    Serve,
    Server,
    health_of,
    in_progress,
    request_of,
    requests_of,
    stub_of,
)

from serving.errors import RequestError
from serving.server.admission import Admission


def test_sigterm_finishes_what_runs(serve: Serve, base_path: Path) -> None:
    arguments = [f"--model_base_path={base_path}", "--max_rows=100000", "--metrics_port=0"]
    server = serve("--model_name=disc", *arguments)
    stub = stub_of(server)
    many = {name: np.tile(value, [10_000, 1]) for name, value in RAYS.items()}
    stub.Predict(request_of(RAYS), timeout=30)
    answer = stub.Predict.future(request_of(many), timeout=60)
    wait_until(lambda: in_progress(server) == 1)
    assert server.stop() == 0
    assert answer.result().outputs["rgb"].tensor_shape.dim[0].size == 70_000
    assert [line["message"] for line in server.lines[-2:]] == ["version unloaded", "stopped"]


def test_sigterm_cuts_off_what_takes_too_long(serve: Serve, base_path: Path) -> None:
    arguments = [f"--model_base_path={base_path}", "--max_pixels=20000000", "--stop_seconds=0.5"]
    server = serve("--model_name=disc", *arguments, "--metrics_port=0")
    answer = stub_of(server).Predict.future(request_of(HUGE, "render_view"))
    wait_until(lambda: in_progress(server) == 1)
    assert server.stop() == 0
    assert server.lines[-1]["message"] == "stopped, with requests that still ran"
    with pytest.raises(grpc.RpcError):
        answer.result()


def test_a_full_queue_is_unavailable_and_deadlines_hold() -> None:
    admission = Admission(1, 1)
    inside, leave = threading.Event(), threading.Event()

    def occupy() -> None:
        with admission.turn(None):
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=occupy)
    thread.start()
    inside.wait(30)
    with pytest.raises(RequestError) as late, admission.turn(0.05):
        pass
    assert late.value.code is grpc.StatusCode.DEADLINE_EXCEEDED
    waiting = threading.Thread(target=lambda: admission.turn(10).__enter__())
    waiting.start()

    def is_full() -> bool:
        """Whether the other thread stands in the queue already."""
        try:
            with admission.turn(0):
                raise AssertionError("found a turn, though one runs")
        except RequestError as error:
            return error.code is grpc.StatusCode.UNAVAILABLE and "queue is full" in error.message

    wait_until(is_full)
    leave.set()
    thread.join()
    waiting.join()


def test_requests_of_clients_that_have_gone_are_not_run(serve: Serve, base_path: Path) -> None:
    """They leave the queue when their turn comes; the one that runs is finished."""
    arguments = [f"--model_base_path={base_path}", "--max_running=1", "--metrics_port=0"]
    server = serve("--model_name=disc", *arguments)
    stub = stub_of(server)
    picture = {**HUGE, "height": np.int32([400]), "width": np.int32([400])}
    request = request_of(picture, "render_view")
    answers = [stub.Predict.future(request, timeout=60) for _ in range(6)]
    wait_until(lambda: in_progress(server) == 6)
    for answer in answers:
        answer.cancel()
    wait_until(lambda: requests_of(server) == {"CANCELLED": 5, "OK": 1})
    assert in_progress(server) == 0
    assert stub.Predict(request_of(RAYS), timeout=30).model_spec.version.value == 1
    assert server.stop() == 0


def test_requests_without_a_deadline_wait_for_their_turn(serve: Serve, base_path: Path) -> None:
    server = serve("--model_name=disc", f"--model_base_path={base_path}", "--max_running=1")
    many = {name: np.tile(value, [3000, 1]) for name, value in RAYS.items()}
    answers = [stub_of(server).Predict.future(request_of(many)) for _ in range(4)]
    assert [answer.result().model_spec.version.value for answer in answers] == [1, 1, 1, 1]
    assert server.stop() == 0


def test_a_deadline_stops_what_runs(serve: Serve, base_path: Path) -> None:
    """Whoever comes next need not wait for an answer that nobody wants."""
    arguments = [f"--model_base_path={base_path}", "--max_running=1", "--max_pixels=20000000"]
    server = serve("--model_name=disc", *arguments)
    stub = stub_of(server)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request_of(HUGE, "render_view"), timeout=1)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert stub.Predict(request_of(RAYS), timeout=60).model_spec.version.value == 1
    assert server.stop() == 0


def test_who_asks_for_no_model_need_not_wait_to_hear_it(serve: Serve, base_path: Path) -> None:
    arguments = [f"--model_base_path={base_path}", "--max_running=1", "--max_pixels=20000000"]
    stub = stub_of(serve("--model_name=disc", *arguments, "--metrics_port=0"))
    stub.Predict(request_of(RAYS), timeout=60)
    runs = stub.Predict.future(request_of(HUGE, "render_view"), timeout=8)
    waits = stub.Predict.future(request_of(RAYS), timeout=8)
    with pytest.raises(grpc.RpcError) as caught:
        stub.Predict(request_of(RAYS, name="another"), timeout=60)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert not runs.done() and not waits.done()
    waits.cancel()
    assert runs.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_calls_that_stall_do_not_silence_health(server: Server) -> None:
    """Calls whose message never comes hold all threads for requests."""
    channel = grpc.insecure_channel(server.address)
    stall = channel.stream_unary("/tensorflow.serving.PredictionService/Predict")
    forever = threading.Event()

    def nothing() -> Iterator[bytes]:
        forever.wait(60)
        yield from ()

    stalled = [stall.future(nothing()) for _ in range(100)]

    def is_stalled() -> bool:
        """Whether no thread is left for a request."""
        try:
            stub_of(server).Predict(request_of(RAYS), timeout=0.5)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        return False

    wait_until(is_stalled)
    for service in ("", "disc"):
        assert health_of(grpc.insecure_channel(server.address), service) == "SERVING"
    for call in stalled:
        call.cancel()
    forever.set()
