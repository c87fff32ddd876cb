"""Ports to listen on, and one line that says why one cannot be used."""

from __future__ import annotations

import os
import socket

from tfnerf.errors import UserError

MAX_PORT = 65535


def check_free(host: str, port: int, flag: str = "port") -> None:
    """Raises UserError, which names the flag, if nobody can listen there; 0 is any port."""
    if not host:
        raise UserError("--host: found nothing, expected an address to listen on")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            pass
    except UnicodeError:
        raise UserError(f"--host={host}: expected an address to listen on") from None
    except OSError as error:
        # Names that are not found have numbers of their own.
        text = (
            error.strerror if error.errno is None or error.errno < 0 else os.strerror(error.errno)
        )
        where = address(host, port)
        raise UserError(f"--{flag}={port}: cannot listen on {where}: {text}") from None


def address(host: str, port: int) -> str:
    """host:port, with brackets where the host has colons of its own."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
