"""Serves exported scenes over gRPC, in the protocol of TF Serving.

For development and small deployments, and for machines without tensorflow_model_server, which is
what to use in production: see docs/serving.md.

python -m serving.server --model_name=lego --model_base_path=models/lego
python -m serving.server --model_config_file=models.config
"""

from __future__ import annotations

import json
import logging
import os
from concurrent import futures
from typing import TYPE_CHECKING

from absl import flags

from serving.pem import read_pem
from serving.ports import MAX_PORT, address, check_free
from serving.stopping import StopSignal
from tfnerf import command_line
from tfnerf.errors import UserError
from tfnerf.files import with_home

if TYPE_CHECKING:
    import grpc

    from serving.server.metrics import Metrics
    from serving.server.models import ModelConfig, Models

_log = logging.getLogger("serving.server")
_HOST = flags.DEFINE_string("host", "127.0.0.1", "Address to listen on; loopback unless told.")
_PORT = flags.DEFINE_integer("port", 8500, "Port for gRPC; 0: any.", 0, MAX_PORT)
_MODEL_NAME = flags.DEFINE_string("model_name", None, "Name of the one model.")
_MODEL_BASE_PATH = flags.DEFINE_string("model_base_path", None, "Folder of its versions.")
_MODEL_CONFIG_FILE = flags.DEFINE_string(
    "model_config_file", None, "Instead: a models.config of TF Serving with several models."
)
_POLL_SECONDS = flags.DEFINE_float(
    "poll_seconds", 1.0, "Seconds between looks for new versions.", 0.01, 1e6
)
_NUM_RUNNING = flags.DEFINE_integer("max_running", 2, "Requests that run at once.", 1)
_NUM_WAITING = flags.DEFINE_integer(
    "max_waiting", 64, "Requests that wait for their turn; more are UNAVAILABLE.", 0
)
_MAX_ROWS = flags.DEFINE_integer(
    "max_rows", 1 << 20, "Rays or points that a request may hold.", 1, 1 << 24
)
_MAX_PIXELS = flags.DEFINE_integer(
    "max_pixels", 1 << 22, "Pixels that the pictures of a request may have together.", 1
)
_METRICS_PORT = flags.DEFINE_integer(
    "metrics_port", None, "Port for Prometheus; 0: any that is free.", 0, MAX_PORT
)
_STOP_SECONDS = flags.DEFINE_float(
    "stop_seconds", 30.0, "Seconds that SIGTERM leaves to requests before they are cut off.", 0, 1e6
)
_TLS_CERTIFICATE = flags.DEFINE_string("tls_certificate", None, "PEM file: of the server.")
_TLS_KEY = flags.DEFINE_string("tls_key", None, "PEM file: its private key.")
_TLS_CLIENT_CA = flags.DEFINE_string(
    "tls_client_ca", None, "PEM file: who signs the clients' certificates; demands one of each."
)
_BYTES_PER_ROW = 64
_LEAST_MESSAGE = 16 << 20
"""Room for rays in a message, in bytes; the second for what a client sends at a time, however few
--max_rows are and however long the codes that come with a ray."""
_LAST_SECONDS = 1.0
"""For threads to end after that."""
_MAX_CALLS = 4096
"""At once, the ones that wait for a thread included."""


def main() -> None:
    """Serves until SIGTERM or SIGINT."""
    if bool(_MODEL_CONFIG_FILE.value) == bool(_MODEL_NAME.value or _MODEL_BASE_PATH.value):
        raise UserError(
            "--model_config_file, or --model_name and --model_base_path: expected one of them"
        )
    credentials = _credentials()
    command_line.import_tensorflow()
    from serving.server.health import Health
    from serving.server.metrics import Metrics
    from serving.server.models import Models

    _log_as_json()
    models = Models(_configs(), _POLL_SECONDS.value)
    metrics = Metrics()
    addresses = {}
    if _METRICS_PORT.value is not None:
        check_free(_HOST.value, _METRICS_PORT.value, "metrics_port")
        metrics_port = metrics.serve(_HOST.value, _METRICS_PORT.value)
        addresses["metrics_address"] = address(_HOST.value, metrics_port)
    server = _make_server(models, metrics)
    health = Health(models, server)
    port = _listen(server, credentials)
    # Before anyone is answered: after a restart clients had better wait than hear of no model.
    models.start()
    stop = StopSignal()
    server.start()
    metrics.watch(models)
    addresses["address"] = address(_HOST.value, port)
    _log.info("serving", extra={**addresses, "ready": models.ready()})
    stop.wait()
    _log.info("stopping")
    health.stop()
    server.stop(_STOP_SECONDS.value).wait(_STOP_SECONDS.value + _LAST_SECONDS)
    if models.stop(_LAST_SECONDS):
        _log.info("stopped")
        return
    _log.warning("stopped, with requests that still ran")
    os._exit(0)  # threads that run a model cannot be ended in another way


def _configs() -> list[ModelConfig]:
    from serving.server.models import ModelConfig
    from serving.server.models_config import read_models_config

    if _MODEL_CONFIG_FILE.value:
        try:
            return read_models_config(with_home(_MODEL_CONFIG_FILE.value))
        except UserError as error:
            raise UserError(f"--model_config_file={error}") from None
    if not _MODEL_NAME.value or not _MODEL_BASE_PATH.value:
        raise UserError("--model_name and --model_base_path: expected both")
    base_path = with_home(_MODEL_BASE_PATH.value)
    if not base_path.is_dir():
        raise UserError(f"--model_base_path={base_path}: no such folder")
    return [ModelConfig(_MODEL_NAME.value, base_path)]


def _make_server(models: Models, metrics: Metrics) -> grpc.Server:
    """A server that predicts and manages models."""
    import grpc
    from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

    from serving.server.admission import Admission
    from serving.server.model_service import ModelService
    from serving.server.prediction_service import Limits, PredictionService

    most = _NUM_RUNNING.value + _NUM_WAITING.value
    server = grpc.server(
        # A few more threads than requests in the queue, to send others away and tell of health.
        futures.ThreadPoolExecutor(most + 8, thread_name_prefix="request"),
        maximum_concurrent_rpcs=_MAX_CALLS,
        options=[
            (
                "grpc.max_receive_message_length",
                _BYTES_PER_ROW * _MAX_ROWS.value + _LEAST_MESSAGE,
            ),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ],
    )
    admission = Admission(_NUM_RUNNING.value, _NUM_WAITING.value)
    limits = Limits(_MAX_ROWS.value, _MAX_PIXELS.value)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        PredictionService(models, admission, limits, metrics), server
    )
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(models), server)
    return server


def _credentials() -> grpc.ServerCredentials | None:
    """For TLS; None without."""
    if not (_TLS_CERTIFICATE.value or _TLS_KEY.value or _TLS_CLIENT_CA.value):
        return None
    if not (_TLS_CERTIFICATE.value and _TLS_KEY.value):
        raise UserError("--tls_certificate and --tls_key: expected both")
    import grpc

    pair = (read_pem(_TLS_KEY), read_pem(_TLS_CERTIFICATE))
    client_ca = read_pem(_TLS_CLIENT_CA)
    return grpc.ssl_server_credentials([pair], client_ca, client_ca is not None)


def _listen(server: grpc.Server, credentials: grpc.ServerCredentials | None) -> int:
    """Binds the port, and returns which it is."""
    check_free(_HOST.value, _PORT.value)
    where = address(_HOST.value, _PORT.value)
    try:
        if credentials is None:
            return server.add_insecure_port(where)
        return server.add_secure_port(where, credentials)
    except RuntimeError:
        raise UserError(
            f"--port={_PORT.value}: cannot listen on {where}"
            + (": do the TLS files fit together?" if credentials else "")
        ) from None


class _JsonFormatter(logging.Formatter):
    """A JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
        }
        fields |= {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


_STANDARD_FIELDS = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def _log_as_json() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_JsonFormatter())
    log = logging.getLogger("serving")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    log.propagate = False
    # It writes a traceback for each message that is none, so anyone could fill the log.
    logging.getLogger("grpc._server").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    command_line.run(main)
