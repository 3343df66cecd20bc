"""GET /console/api/traces, /console/api/traces/{trace} and /console/api/why: what the embedded trace store has."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import falcon
import msgspec
from falcon.asgi import Request, Response
from msgspec import Meta
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status, TracesData

from gateway.resources.console_answer import answer
from inference_core.errors import InvalidInput, Unavailable
from otel.store.query import Found, NoTraces, Search, StoredTraces
from otel.store.summary import LONGEST_TEXT, plain
from otel.store.why import HOUR, Split, splits, stages_of, verdict, why

ASK_SECONDS = 3.0
WAIT_SECONDS = 5.0
AT_ONCE = 2
MOST_SPANS = 2_000
MOST_ATTRIBUTES = 128
EVEN = ("rate", "ratio", "flag")
BUSY = "The trace store has too many questions to answer just now; ask again in a second."
TRACE_ID = re.compile(r"[0-9a-fA-F]{32}")
Answer = TypeVar("Answer")
Text = Annotated[str, Meta(max_length=256)]


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of a search: `id` is a request id or a trace id, `hours` how far back, `slower` in seconds."""

    id: Text = ""
    model: Text = ""
    status: Text = ""
    kept: Text = ""
    slower: Annotated[float, Meta(ge=0, le=1e6)] | None = None
    hours: Annotated[float, Meta(gt=0, le=24 * 366)] = 24.0
    order: Literal["newest", "slowest"] = "newest"
    limit: Annotated[int, Meta(ge=1, le=200)] = 50


class WhyAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The query of "why was this slow": a model, and how many minutes are looked at."""

    model: Text
    minutes: Annotated[float, Meta(gt=0, le=24 * 60)] = 15.0


class Row(msgspec.Struct, frozen=True):
    """A stored request: `started` in seconds since 1970, durations in seconds."""

    trace_id: str
    request_id: str
    name: str
    model: str
    version: str
    status: str
    failed: bool
    kept: str
    started: float
    duration: float
    stages: dict[str, float]
    spans: int


class Link(msgspec.Struct, frozen=True):
    """A span that belongs to the same event, in this trace or another."""

    trace_id: str
    span_id: str
    attributes: dict[str, Any]


class StoredSpan(msgspec.Struct, frozen=True):
    """A span: `start` in seconds after the first span's, `duration` in seconds; `parent` may be "" or unknown.

    `resource` is its place in the trace's resources.
    """

    id: str
    parent: str
    name: str
    kind: str
    service: str
    start: float
    duration: float
    error: bool
    message: str
    attributes: dict[str, Any]
    resource: int
    links: list[Link]


class StoredTrace(msgspec.Struct, frozen=True):
    """A trace: its spans in the order of their start, of which `left_out` are not told."""

    trace_id: str
    started: float
    spans: list[StoredSpan]
    resources: list[dict[str, Any]]
    left_out: int


class Why(msgspec.Struct, frozen=True):
    """Percentiles of a model with the mean seconds of each stage around them, now and in the hour before."""

    now: dict[str, Split]
    before: dict[str, Split]
    requests: int
    verdict: str
    text: str


class Traces:
    """The store's file, asked in threads: a few at once, each for a bounded time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stored = StoredTraces(file, ASK_SECONDS)
        self._places = asyncio.Semaphore(AT_ONCE)

    async def ask(self, question: Callable[[StoredTraces], Answer]) -> Answer:
        """Return the answer to a question that blocks; raises Unavailable."""
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._places:
                return await asyncio.to_thread(question, self._stored)
        except TimeoutError as error:
            raise Unavailable(BUSY) from error
        except NoTraces as error:
            # Where the file lies on this machine is not for whoever asks.
            raise Unavailable(error.message.replace(str(self._file), self._file.name)) from error


class SearchResource:
    """GET /console/api/traces?id=&model=&status=&kept=&slower=&hours=&order=&limit=."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def on_get(self, request: Request, response: Response) -> None:
        """Answer with the requests that are meant, and with the names of all models that are stored."""
        asked = _asked(request, Asked)
        found, models = await self._traces.ask(lambda stored: (_found(stored, asked), stored.models()))
        answer(response, {"found": [_row(each) for each in found], "models": models})


class TraceResource:
    """GET /console/api/traces/{trace}."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def on_get(self, _: Request, response: Response, trace: str) -> None:
        """Answer with the spans of a trace; 404 where it is not stored, or not yet."""
        is_one = TRACE_ID.fullmatch(trace)
        found = await self._traces.ask(lambda stored: _document(stored, trace.lower())) if is_one else None
        if found is None:
            raise falcon.HTTPNotFound(description="That trace is not stored.")
        answer(response, found)


class WhyResource:
    """GET /console/api/why?model=&minutes=."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    async def on_get(self, request: Request, response: Response) -> None:
        """Answer with a model's percentiles split into stages; 404 where nothing of the model is stored."""
        asked = _asked(request, WhyAsked)
        answer(response, await self._traces.ask(lambda stored: _why(stored, asked)))


def _asked(request: Request, kind: type[Answer]) -> Answer:
    try:
        return msgspec.convert(request.params, kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"The query is not understood: {str(error)[:200]}.") from error


def _found(stored: StoredTraces, asked: Asked) -> list[Found]:
    search = Search(
        request_id=asked.id,
        model=asked.model,
        status=asked.status,
        kept=asked.kept,
        slower_than=asked.slower,
        since=time.time() - asked.hours * 3600,
        order=asked.order,
        limit=asked.limit,
        predictions=True,
    )
    found = stored.search(search)
    if not TRACE_ID.fullmatch(asked.id):
        return found
    # Our own request ids look like trace ids.
    by_trace = stored.find(asked.id)
    return found if by_trace is None else [by_trace, *found]


def _row(found: Found) -> Row:
    one = found.summary
    return Row(
        found.trace_id,
        one.request_id,
        one.name,
        one.model,
        one.version,
        one.status,
        one.failed,
        one.kept,
        one.started / 1e9,
        one.duration / 1e9,
        {stage: nanoseconds / 1e9 for stage, nanoseconds in stages_of(one).items()},
        one.spans,
    )


def _document(stored: StoredTraces, trace_id: str) -> msgspec.Raw | None:
    # Encoded here, in the thread, and not on the loop: a trace may have megabytes.
    found = stored.trace(trace_id)
    return None if found is None else msgspec.Raw(_encoded(_trace(trace_id, found)))


def _encoded(value: StoredTrace) -> bytes:
    return msgspec.json.encode(value)


def _trace(trace_id: str, stored: TracesData) -> StoredTrace:
    # Once for all spans of a resource: 2000 copies of a large one would not fit anywhere.
    resources = [_plain(resource.resource.attributes) for resource in stored.resource_spans]
    pairs = [(place, span) for place, resource in enumerate(stored.resource_spans) for span in _spans(resource)]
    pairs.sort(key=lambda pair: pair[1].start_time_unix_nano)
    began = pairs[0][1].start_time_unix_nano if pairs else 0
    services = [str(resource.get("service.name", ""))[:LONGEST_TEXT] for resource in resources]
    spans = [_span(place, services[place], span, began) for place, span in pairs[:MOST_SPANS]]
    return StoredTrace(trace_id, began / 1e9, spans, resources, len(pairs) - len(spans))


def _spans(resource: ResourceSpans) -> Iterator[Span]:
    for scope in resource.scope_spans:
        yield from scope.spans


def _plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return plain(islice(attributes, MOST_ATTRIBUTES))


def _kind(number: int) -> str:
    # A client may send a number that the protocol has no name for.
    name = Span.SpanKind.Name(number) if number in Span.SpanKind.values() else "unspecified"  # type: ignore[arg-type]
    return name.removeprefix("SPAN_KIND_").lower()


def _span(resource: int, service: str, span: Span, began: int) -> StoredSpan:
    return StoredSpan(
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        _kind(span.kind),
        service,
        (span.start_time_unix_nano - began) / 1e9,
        max(0, span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
        span.status.code == Status.STATUS_CODE_ERROR,
        span.status.message,
        _plain(span.attributes),
        resource,
        [Link(link.trace_id.hex(), link.span_id.hex(), _plain(link.attributes)) for link in span.links],
    )


def _why(stored: StoredTraces, asked: WhyAsked) -> Why:
    until = time.time()
    since = until - asked.minutes * 60
    now, before = (_splits(stored, asked.model, *times) for times in ((since, until), (since - HOUR, since)))
    text = why(stored, asked.model, asked.minutes, lambda: until)
    return Why(now[0], before[0], now[1], verdict(now[0], before[0]), text)


def _splits(stored: StoredTraces, model: str, since: float, until: float) -> tuple[dict[str, Split], int]:
    found = stored.search(Search(model=model, since=since, until=until, limit=10_000))
    even = [each.summary for each in found if each.summary.kept in EVEN]
    return splits(even), len(even)
