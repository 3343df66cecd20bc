"""The gateway's border for errors: one table from error to HTTP status, one shape of body."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import falcon
import msgspec
from falcon.asgi import App, Request, Response

from inference_core import errors

STATUS: Mapping[type[errors.InferenceHubError], int] = {
    errors.InvalidInput: 400,
    errors.SlowInput: 408,
    errors.InputTooLarge: 413,
    errors.UnsupportedInput: 415,
    errors.UnknownModel: 404,
    errors.Unavailable: 503,
    errors.Overloaded: 503,
    errors.DeadlineExceeded: 504,
    errors.ClientLeft: 499,
    errors.ModelFailed: 502,
    errors.WorkerKiller: 500,
    errors.ConfigurationError: 500,
}
"""Nearest class in an error's ancestry decides."""

V2_PREFIX = "/v2"
V2_STATUS: Mapping[type[errors.InferenceHubError], int] = {
    **STATUS,
    errors.NotOffered: 501,
    errors.ModelFailed: 500,
    errors.WorkerKiller: 500,
}
"""The same for the V2 routes, where Triton's clients expect Triton's statuses."""

UNREAD_BODY = (errors.InputTooLarge, errors.SlowInput, errors.UnsupportedInput)
PATHS = (
    "POST /predict, GET /console, GET /health, GET /ready, GET /metrics, /admin/traffic, and below /v2 what "
    "GET /openapi.json lists"
)


def status_of(error: errors.InferenceHubError, statuses: Mapping[type[errors.InferenceHubError], int] = STATUS) -> int:
    """Return the HTTP status of an expected error."""
    status = statuses.get(type(error))
    return next(statuses[kind] for kind in type(error).__mro__ if kind in statuses) if status is None else status


def install(app: App[Request, Response]) -> None:
    """Make every error an answer `{"error": "<sentence>"}`."""
    app.add_error_handler(Exception, _unexpected)
    app.add_error_handler(errors.InferenceHubError, _expected)
    app.add_error_handler(falcon.HTTPError, _from_falcon)


@lru_cache(maxsize=64)
def body_of(sentence: str) -> bytes:
    """Return the body of an answer to an error."""
    return msgspec.json.encode({"error": sentence})


def unexpected_sentence(trace_id: str) -> str:
    """Return what a client is told of an error that nobody foresaw."""
    return f"Unexpected error; the gateway's log has the details under trace {trace_id}."


def write(response: Response, status: int, sentence: str) -> None:
    """Fill a response with an error's status and sentence."""
    response.status = status
    response.content_type = falcon.MEDIA_JSON
    response.data = body_of(sentence)


async def _expected(
    request: Request, response: Response | None, error: errors.InferenceHubError, __: dict[str, Any], **___: Any
) -> None:
    if response is None:
        return
    is_v2 = (request.uri_template or "").startswith(V2_PREFIX)
    write(response, status_of(error, V2_STATUS if is_v2 else STATUS), error.message)
    request.context.error = error
    if isinstance(error, errors.Unavailable):
        response.set_header("Retry-After", str(error.retry_after_seconds))
    if isinstance(error, UNREAD_BODY):
        # What is left of the body must never be read as a next request.
        response.set_header("Connection", "close")


async def _from_falcon(
    request: Request, response: Response | None, error: falcon.HTTPError, __: dict[str, Any], **___: Any
) -> None:
    if response is None:
        return
    write(response, error.status_code, _sentence(request, error))
    response.set_headers(error.headers or {})


def _sentence(request: Request, error: falcon.HTTPError) -> str:
    if error.status_code == falcon.http_status_to_code(falcon.HTTP_404):
        return error.description or f"There is nothing at this path; this gateway answers {PATHS}."
    if error.status_code == falcon.http_status_to_code(falcon.HTTP_405):
        return f"{request.method[:16]} is not answered at this path; this gateway answers {PATHS}."
    return f"{error.title}. {error.description or ''}".strip()


async def _unexpected(
    request: Request, response: Response | None, error: Exception, __: dict[str, Any], **___: Any
) -> None:
    context = request.context
    context.observer.unexpected(context.observed, error)
    if response is not None:
        write(response, 500, unexpected_sentence(context.observed.trace.trace_id))
