"""Errors of requests, with the code and the text that TF Serving answers with."""

from __future__ import annotations

import grpc

_MAX_MESSAGE_LENGTH = 1000
"""Characters; gRPC sends no status at all if its message is too long."""


class RequestError(Exception):
    """A request that cannot be answered.

    Args:
      code: of gRPC.
      message: for the client.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = message


def invalid(message: str) -> RequestError:
    """What the client sent is wrong."""
    return RequestError(grpc.StatusCode.INVALID_ARGUMENT, message)


def abort(context: grpc.ServicerContext, code: grpc.StatusCode, message: str) -> None:
    """Ends a request; what a client sent may be in the message, so that is bounded."""
    if len(message) > _MAX_MESSAGE_LENGTH:
        message = f"{message[:_MAX_MESSAGE_LENGTH]}..."
    context.abort(code, message)


def code_of(number: int) -> grpc.StatusCode:
    """The gRPC code of a number; TensorFlow's errors have the same numbers."""
    return _BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN)


_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
