"""What a worker's status means at the gateway: one table from gRPC status to error."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import grpc
from grpc import StatusCode

from inference_core import errors

LATE = "The deadline passed before the model answered; send a longer X-Request-Timeout or ask for less."
LOST = "No inference worker is ready; see GET /ready, and try again."
BUSY = "The inference workers take no more at the moment; try again."
TOO_LARGE = "The request is larger than a worker takes (inference.max_message_bytes); send fewer rows."
REASON = "reason"

ERRORS: Mapping[StatusCode, Callable[[str], errors.InferenceHubError]] = {
    StatusCode.INVALID_ARGUMENT: errors.InvalidInput,
    StatusCode.NOT_FOUND: errors.UnknownModel,
    StatusCode.DEADLINE_EXCEEDED: lambda _: errors.DeadlineExceeded(LATE),
    StatusCode.INTERNAL: errors.ModelFailed,
}
"""What a worker's status means for each request of its batch; any other is a failed worker."""

OUTCOMES: Mapping[StatusCode, str] = {
    StatusCode.OK: "ok",
    StatusCode.UNAVAILABLE: "lost",
    StatusCode.CANCELLED: "left",
    StatusCode.RESOURCE_EXHAUSTED: "busy",
    StatusCode.DEADLINE_EXCEEDED: "late",
}
"""One word for each way in which a call ends, for the metrics; any other is `failed`."""


def outcome_of(status: StatusCode) -> str:
    """Return the word for a status."""
    return OUTCOMES.get(status, "failed")


def _reason(error: grpc.aio.AioRpcError) -> str:
    pairs = error.trailing_metadata() or ()
    return next((str(value) for key, value in pairs if key == REASON), "")


def is_of_all(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether an error says of every request of a batch what it says of one."""
    return _reason(error) == errors.WrongSignature.reason


def is_too_large(error: grpc.aio.AioRpcError) -> bool:
    """Tell whether a message was larger than its receiver takes."""
    return error.code() is StatusCode.RESOURCE_EXHAUSTED and not _reason(error)


def translated(error: grpc.aio.AioRpcError) -> errors.InferenceHubError:
    """Return what a call's error is for one request of it."""
    code = error.code()
    if code is StatusCode.RESOURCE_EXHAUSTED:
        reason = _reason(error)
        return errors.Overloaded(BUSY, reason) if reason else errors.InputTooLarge(TOO_LARGE)
    return ERRORS.get(code, errors.ModelFailed)(error.details() or f"The worker answered {code.name}.")
