"""What a call that failed raises: the server's own code and text."""

from __future__ import annotations

import grpc
import grpc.aio


class TorchdError(Exception):
    """`code` is gRPC's; `message` says what was given and what was expected."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code.name}: {self.message}"


class InvalidInput(TorchdError):
    """The request can never succeed as it is."""


class NotFound(TorchdError):
    """There is no such model, version or label."""


class Unavailable(TorchdError):
    """The model or the server is not ready, or no server was reached; worth another try."""


class Overloaded(TorchdError):
    """Too much waits for this request to be answered in time, and so it was after every retry."""


class DeadlineExceeded(TorchdError):
    """The answer was not ready within the timeout."""


_CLASSES: dict[grpc.StatusCode, type[TorchdError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidInput,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Overloaded,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}

_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def make_error(code: grpc.StatusCode, message: str) -> TorchdError:
    return _CLASSES.get(code, TorchdError)(code, message)


def error_from_number(number: int, message: str) -> TorchdError:
    """Of an item: `number` is a google.rpc.Code."""
    return make_error(_BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN), message)


def error_from_call(error: grpc.RpcError) -> TorchdError:
    if not isinstance(error, (grpc.Call, grpc.aio.AioRpcError)):
        return make_error(grpc.StatusCode.UNKNOWN, str(error))
    return make_error(error.code(), error.details() or "")
