"""Channels to one or several servers: turns, retries, TLS."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Sequence

import grpc

from serving.ports import MAX_PORT

_CONNECT_SECONDS = 10.0
"""That a first connection may take."""
_SERVICE_CONFIG = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "5s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
}
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # Larger requests than this are not retried, and the default is less than a chunk.
    ("grpc.per_rpc_retry_buffer_size", 64 << 20),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2000),
]

_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy")
"""Environment variables that gRPC takes a proxy from, the first that is set."""

Tls = tuple[bytes | None, bytes | None, bytes | None]
"""Contents of PEM files: authority or None for the usual ones, key and certificate of the client or
None."""


class ServerError(Exception):
    """A server answered with an error, or not at all; one line."""


def check_servers(servers: Sequence[str]) -> None:
    """Raises ServerError if there are none, or one is not host:port."""
    if not servers:
        raise ServerError("no server given, expected host:port")
    for server in servers:
        host, _, port = server.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) <= MAX_PORT:
            raise ServerError(f"{server}: expected host:port")


def open_channel(servers: Sequence[str], tls: Tls | None) -> grpc.Channel:
    """A channel on which servers take turns, and which retries what is UNAVAILABLE.

    No proxy is asked for servers of this machine, which it could not reach.

    Args:
      servers: host:port of each. Several are looked up once, as IPv4 addresses, and with TLS their
        certificates must bear the name of the first.
      tls: what to encrypt with; None: without TLS.

    Raises:
      ServerError: the name of a server cannot be looked up.
    """
    target = _target(servers)
    # A list of addresses is no name that a certificate could bear.
    options = [*_OPTIONS, ("grpc.default_authority", servers[0])]
    if all(map(_is_loopback, servers)):
        options.append(("grpc.enable_http_proxy", 0))
    if tls is None:
        return grpc.insecure_channel(target, options)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(*tls), options)


def wait_until_connected(channel: grpc.Channel, seconds: float) -> None:
    """Waits for a first connection, but not long, so that a wrong address is said soon.

    Raises:
      ServerError: there is none.
    """
    seconds = min(seconds, _CONNECT_SECONDS)
    try:
        grpc.channel_ready_future(channel).result(seconds)
    except grpc.FutureTimeoutError:
        proxies = [name for name in _PROXY_VARIABLES if os.environ.get(name)]
        proxy = f", or the proxy that {proxies[0]} names is in the way" if proxies else ""
        raise ServerError(
            f"no connection within {seconds:g} s: no server there, or TLS does not fit{proxy}"
        ) from None


def server_error(error: grpc.RpcError) -> ServerError:
    """In one line: the code, and what the server said."""
    details = " ".join((error.details() or "").split())
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        details = "no answer in time: the server is gone, or needs longer"
    return ServerError(f"{error.code().name}: {details}")


def _is_loopback(server: str) -> bool:
    host = server.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _target(servers: Sequence[str]) -> str:
    """What a channel connects to: one name, whose addresses take turns, or a list of addresses."""
    check_servers(servers)
    if len(servers) == 1:
        return f"dns:///{servers[0]}"
    addresses = []
    for server in servers:
        host, _, port = server.rpartition(":")
        if ":" in host:
            raise ServerError(f"{server}: of several servers only IPv4 addresses or names will do")
        try:
            found = socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_STREAM)
        except OSError as error:
            raise ServerError(f"{server}: {error.strerror}") from None
        except UnicodeError:
            raise ServerError(f"{server}: this is no name of a host") from None
        addresses += ["{}:{}".format(*each[4]) for each in found]
    return f"ipv4:{','.join(addresses)}"
