"""Predictions whose request arrived whole, answered without ASGI: the same parts, put together for speed.

What is special about a request (another content type, chunks, a repeated field, an early end) goes through Falcon;
here only the common case is known, and both give the same answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from gateway.call import Call
from gateway.errors import body_of, status_of, unexpected_sentence
from gateway.keeping import UNAVAILABLE
from gateway.observation import PREDICT, Observed, Observer
from gateway.predictions import Predictions
from gateway.replies import Fields, Reply, Work
from gateway.timeouts import is_background, patience
from inference_core import errors
from inference_core.admission import SENTENCES
from inference_core.deadline import Deadline
from inference_core.errors import retry_seconds
from inference_core.inference import Inference
from inference_core.settings import Gateway, Traffic

OK, CLIENT_LEFT, UNEXPECTED = 200, 499, 500


class Terms(msgspec.Struct, frozen=True, gc=False):
    """What a header section says of a request: texts as the client sent them, empty where it sent none.

    `seconds` it may take; `key` is who asks, `wanted` the version it asks, `mistake` what is wrong with a field.
    """

    request_id: str
    traceparent: str
    tracestate: str
    seconds: float
    background: bool
    key: str
    wanted: str
    mistake: str

    def deadline(self) -> Deadline:
        """Return until when a request is to be answered that arrives now; raises InvalidInput for a mistake."""
        if self.mistake:
            raise errors.InvalidInput(self.mistake)
        return Deadline.after(self.seconds)


class DirectPredict:
    """POST /predict for a header section without repeated fields and a body that is there."""

    def __init__(self, predictions: Predictions, observer: Observer, settings: Gateway, traffic: Traffic) -> None:
        self.predictions = predictions
        self.observer = observer
        self.deadline = settings.deadline
        self.user_header = traffic.user_header.lower().encode("ascii")
        self.version_header = traffic.version_header.lower().encode("ascii")

    def __call__(self, fields: Fields, body: bytes, reply: Callable[[Reply], None]) -> Work:
        """Begin to answer; `reply` is called once, unless the client leaves before."""
        terms = self.terms(fields)
        work = Prediction(self, self._observed(terms), reply)
        work.begin(terms, body)
        return work

    def turn_away(self, fields: Fields, body: bytes) -> Reply | None:
        """Answer what would only be late, while others like it are refused, too; None where it may come in.

        Under overload most requests end here, so nothing is made of one: a refusal must stay cheap beside an answer.
        """
        if not self.predictions.is_refusing:
            return None
        terms = self.terms(fields)
        if terms.key or terms.wanted:
            return None
        try:
            model, verdict = self.predictions.verdict(body, terms.deadline(), background=terms.background)
        except errors.InvalidInput:
            return None  # for its own reason
        if verdict is None:
            return None
        observed = self._observed(terms)
        self.observer.turn_away(observed, PREDICT, model, verdict.reason)
        retry_after, ids = retry_seconds(verdict.wait_seconds), (observed.request_id, observed.trace.trace_id)
        return Reply(UNAVAILABLE, body_of(SENTENCES[verdict.reason]), *ids, retry_after)

    def terms(self, fields: Fields) -> Terms:
        """Return what a header section says."""
        terms = fields.read
        if not isinstance(terms, Terms):
            fields.read = terms = self._read(fields)
        return terms

    def _read(self, fields: Fields) -> Terms:
        seconds, background, mistake = self.deadline, False, ""
        try:
            seconds = patience(_optional(fields, b"x-request-timeout"), self.deadline)
            background = is_background(_optional(fields, b"x-priority"))
        except errors.InvalidInput as error:
            mistake = error.message
        return Terms(
            request_id=_text(fields, b"x-request-id"),
            traceparent=_text(fields, b"traceparent"),
            tracestate=_text(fields, b"tracestate"),
            seconds=seconds,
            background=background,
            key=_text(fields, self.user_header),
            wanted=_text(fields, self.version_header),
            mistake=mistake,
        )

    def _observed(self, terms: Terms) -> Observed:
        return self.observer.begin("POST", terms.request_id, terms.traceparent, terms.tracestate)


class Prediction:
    """One request on its way, in callbacks: a task with its coroutines would cost a quarter of all there is to do."""

    __slots__ = ("_call", "_leave", "_observed", "_reply", "_route")

    def __init__(self, route: DirectPredict, observed: Observed, reply: Callable[[Reply], None]) -> None:
        self._route = route
        self._observed = observed
        self._reply = reply
        self._call: Call | None = None
        self._leave: Callable[[], object] = _nothing

    def begin(self, terms: Terms, body: bytes) -> None:
        """Queue the request, or fail it."""
        observed, route = self._observed, self._route
        try:
            self._call = call = Call(terms.deadline(), observed.request_id, observed.trace, terms.background)
            call.key, call.wanted = terms.key, terms.wanted
            asked = route.predictions.ask(body, call)
        except Exception as error:  # noqa: BLE001  # the border: whatever it is, the client gets an answer
            self._fail(error)
            return
        if asked is None:
            task = asyncio.get_running_loop().create_task(route.predictions.answer(body, call))
            task.add_done_callback(self._answered)
            self._leave = task.cancel
        else:
            self._leave = asked.leave
            asked.future.add_done_callback(self._told)

    def leave(self) -> None:
        """As `Work.leave`."""
        self._leave()

    def _told(self, future: asyncio.Future[Inference]) -> None:
        try:
            answer = self._route.predictions.told(future.result())
        except asyncio.CancelledError:
            self._end(CLIENT_LEFT)
        except Exception as error:  # noqa: BLE001  # as in begin
            self._fail(error)
        else:
            self._succeed(answer)

    def _answered(self, future: asyncio.Future[bytes]) -> None:
        try:
            self._succeed(future.result())
        except asyncio.CancelledError:
            self._end(CLIENT_LEFT)
        except Exception as error:  # noqa: BLE001  # as in begin
            self._fail(error)

    def _succeed(self, answer: bytes) -> None:
        self._end(OK)
        self._reply(Reply(OK, answer, self._observed.request_id, self._observed.trace.trace_id, 0, self._fields()))

    def _fail(self, error: Exception) -> None:
        observed = self._observed
        if isinstance(error, errors.InferenceHubError):
            status, sentence = status_of(error), error.message
            self._end(status, error)
        else:
            self._route.observer.unexpected(observed, error)
            status, sentence = UNEXPECTED, unexpected_sentence(observed.trace.trace_id)
            self._end(status)
        retry_after = error.retry_after_seconds if isinstance(error, errors.Unavailable) else 0
        ids = observed.request_id, observed.trace.trace_id
        self._reply(Reply(status, body_of(sentence), *ids, retry_after, self._fields()))

    def _fields(self) -> bytes:
        told = () if self._call is None else self._call.told()
        return "".join([f"{name.lower()}: {value}\r\n" for name, value in told]).encode("ascii") if told else b""

    def _end(self, status: int, error: errors.InferenceHubError | None = None) -> None:
        self._route.observer.end(self._observed, PREDICT, status, self._call, error)


def _nothing() -> None:
    """Stand for the leaving of a request that was answered at once."""


def _optional(fields: Fields, name: bytes) -> str | None:
    value = fields.get(name)
    return None if value is None else value.decode("latin-1")


def _text(fields: Fields, name: bytes) -> str:
    value = fields.get(name)
    return "" if value is None else value.decode("latin-1")
