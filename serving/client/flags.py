"""Flags that say which served model to ask, and a client made from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from absl import flags

from serving.pem import read_pem
from serving.version_folders import MAX_VERSION
from tfnerf import command_line
from tfnerf.errors import UserError

if TYPE_CHECKING:
    from serving.client.channel import Tls
    from serving.client.rendering import RenderClient

_SERVER = flags.DEFINE_list("server", ["localhost:8500"], "host:port, or several of them.")
_MODEL_NAME = flags.DEFINE_string("model_name", None, "Name of the model.")
_VERSION = flags.DEFINE_integer(
    "version", None, "Of the model; default: the newest.", 1, MAX_VERSION
)
_TIMEOUT = flags.DEFINE_float("timeout", 60.0, "Seconds that a request may take.", 0.1, 1e6)
_TLS = flags.DEFINE_bool("tls", False, "Encrypt; the other TLS flags imply it.")
_TLS_CA = flags.DEFINE_string(
    "tls_ca", None, "PEM file: who signs the server's certificate; default: the usual authorities."
)
_TLS_CERTIFICATE = flags.DEFINE_string("tls_certificate", None, "PEM file: of this client.")
_TLS_KEY = flags.DEFINE_string("tls_key", None, "PEM file: its private key.")


def model_name() -> str:
    """The model that the flags name.

    Raises:
      UserError: they name none.
    """
    name = _MODEL_NAME.value
    if not name:
        raise UserError("--model_name: not given, expected the name of a served model")
    if not name.isprintable():
        raise UserError(f"--model_name={name!r}: expected printable text")
    return name


@contextlib.contextmanager
def open_client(**options: Any) -> Iterator[RenderClient]:
    """A client of the model that the flags name.

    Args:
      **options: of `RenderClient`, beyond those that flags set.

    Raises:
      UserError: the flags are wrong, or the server answers with an error in the `with` block.
    """
    name, tls = model_name(), _tls_files()
    from serving.client.channel import ServerError, check_servers

    try:
        # Before TensorFlow, which takes seconds.
        check_servers(_SERVER.value)
        command_line.import_tensorflow()
        from serving.client.rendering import RenderClient

        with RenderClient(
            _SERVER.value,
            name,
            version=_VERSION.value,
            seconds=_TIMEOUT.value,
            tls=tls,
            **options,
        ) as client:
            yield client
    except ServerError as error:
        raise UserError(f"--server={','.join(_SERVER.value)}: {error}") from None


def _tls_files() -> Tls | None:
    """The contents of the PEM files: authority, key, certificate; None without TLS."""
    if bool(_TLS_CERTIFICATE.value) != bool(_TLS_KEY.value):
        raise UserError("--tls_certificate and --tls_key: expected both")
    if not (_TLS.value or _TLS_CA.value or _TLS_KEY.value):
        return None
    return read_pem(_TLS_CA), read_pem(_TLS_KEY), read_pem(_TLS_CERTIFICATE)
