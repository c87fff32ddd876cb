"""Ports to listen on, said in one line where they cannot be had."""

from __future__ import annotations

import os
import socket

from tfnerf.errors import UserError


def check_free(host: str, port: int) -> None:
    """Raises UserError if nobody can listen there; 0 is any port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, port), family=family):
            pass
    except OSError as error:
        # Names that are not found have numbers of their own.
        text = (
            error.strerror if error.errno is None or error.errno < 0 else os.strerror(error.errno)
        )
        raise UserError(f"--port={port}: cannot listen on {address(host, port)}: {text}") from None


def address(host: str, port: int) -> str:
    """host:port, with brackets where the host has colons of its own."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
