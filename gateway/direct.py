"""Predictions whose request arrived whole, answered without ASGI: the same parts, put together for speed.

What is special about a request (another content type, chunks, a repeated field, an early end) goes through Falcon;
here only the common case is known, and both give the same answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from gateway.call import Call
from gateway.errors import body_of, status_of, unexpected_sentence
from gateway.observation import Observed, Observer
from gateway.predictions import Predictions
from gateway.timeouts import deadline_of, is_background
from inference_core import errors
from inference_core.settings import Gateway

Fields = Mapping[bytes, bytes]


class Reply(NamedTuple):
    """An answer with a JSON body; `retry_after` in whole seconds, 0 for none."""

    status: int
    body: bytes
    request_id: str
    trace_id: str
    retry_after: int = 0


DirectRoute = Callable[[Fields, bytes], Awaitable[Reply]]
DirectRoutes = Mapping[bytes, DirectRoute]
"""What answers a POST of JSON, by the request's target."""

DIRECT_ROUTES = "direct_routes"
"""The key under which the lifespan's state has them for the HTTP protocol."""


class DirectPredict:
    """POST /predict for a header section without repeated fields and a body that is there."""

    def __init__(self, predictions: Predictions, observer: Observer, settings: Gateway) -> None:
        self._predictions = predictions
        self._observer = observer
        self._settings = settings

    async def __call__(self, fields: Fields, body: bytes) -> Reply:
        """Return the answer, whatever happens; raises only CancelledError, when the client has left."""
        observed = self._observer.begin(
            "POST", _text(fields, b"x-request-id"), _text(fields, b"traceparent"), _text(fields, b"tracestate")
        )
        call = Call(None, observed.request_id, observed.trace)  # type: ignore[arg-type]  # set just below
        status, refused = 499, ""
        try:
            call.deadline = deadline_of(_optional(fields, b"x-request-timeout"), self._settings.deadline)
            call.background = is_background(_optional(fields, b"x-priority"))
            answer = await self._predictions.answer(body, call)
            status = 200
            return Reply(status, answer, observed.request_id, observed.trace.trace_id)
        except errors.InferenceHubError as error:
            status = status_of(error)
            refused = error.reason if isinstance(error, errors.Overloaded) else ""
            return _failed(observed, error, status)
        except Exception as error:  # noqa: BLE001  # the border: whatever it is, the client gets an answer
            status = 500
            self._observer.unexpected(observed, error)
            sentence = unexpected_sentence(observed.trace.trace_id)
            return Reply(status, body_of(sentence), observed.request_id, observed.trace.trace_id)
        finally:
            self._observer.end(observed, "/predict", status, call, refused)


def _failed(observed: Observed, error: errors.InferenceHubError, status: int) -> Reply:
    retry_after = error.retry_after_seconds if isinstance(error, errors.Unavailable) else 0
    return Reply(status, body_of(error.message), observed.request_id, observed.trace.trace_id, retry_after)


def _optional(fields: Fields, name: bytes) -> str | None:
    value = fields.get(name)
    return None if value is None else value.decode("latin-1")


def _text(fields: Fields, name: bytes) -> str:
    return fields.get(name, b"").decode("latin-1")
