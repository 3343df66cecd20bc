"""What the store knows of a trace without reading its spans: whose request it is, how it ended, where the time went."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any

import msgspec
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

NEVER = 2**63 - 1
WORKER = "inference-worker"
LONGEST_TEXT = 256
PLAIN = {"string_value", "int_value", "double_value", "bool_value"}
BORDERS = ("receive", "respond")
TOLD = ("request_id", "status", "model", "version", "kept")
SUMS = ("receive", "queue", "calls", "worker_queue", "compute", "respond", "spans", "bytes")
SERVICE = {"service.name"}
ASKED = {
    "app.model.name",
    "app.model.version",
    "app.kept",
    "app.request.id",
    "app.batch.reason",
    "app.batch.rows",
    "http.response.status_code",
    "rpc.response.status_code",
}
"""The attributes of spans that a summary is made of; the others are not decoded."""


class Summary(msgspec.Struct):
    """One trace, or a part of it. Times are nanoseconds; `entry_at`, `started` and `ended` since 1970.

    The entry is the server span that began first: the request as its client saw it. From it come `name`, `request_id`,
    `status`, `kept`, `failed` and `duration`. Where there is none (a batch's own trace) the duration is that of all
    spans, `failed` tells of any of them, and `status` is empty. A request that was saved by a second attempt has not
    failed. `receive`, `queue`, `calls`, `worker_queue`, `compute` and `respond` are sums over the spans of these
    stages, calls those of the gateway to its workers; `reason` and `rows` are those of the gateway's last batch,
    `worker_reason` and `worker_rows` those of the worker's.
    """

    entry_at: int = NEVER
    started: int = NEVER
    ended: int = 0
    duration: int = 0
    name: str = ""
    request_id: str = ""
    model: str = ""
    version: str = ""
    status: str = ""
    failed: bool = False
    kept: str = ""
    receive: int = 0
    queue: int = 0
    calls: int = 0
    worker_queue: int = 0
    compute: int = 0
    respond: int = 0
    reason: str = ""
    rows: int = 0
    worker_reason: str = ""
    worker_rows: int = 0
    spans: int = 0
    bytes: int = 0

    def add(self, other: Summary) -> None:
        """Take in another part of the same trace; which one came first makes no difference to what the entry tells."""
        first, second = (self, other) if self.entry_at <= other.entry_at else (other, self)
        told = {field: getattr(first, field) or getattr(second, field) for field in TOLD}
        told |= {"entry_at": first.entry_at, "name": first.name}
        duration = first.duration if first.entry_at != NEVER else 0
        self.started, self.ended = min(self.started, other.started), max(self.ended, other.ended)
        self.duration = duration or self.ended - self.started
        self.failed = first.failed if first.entry_at != NEVER else self.failed or other.failed
        for field, value in told.items():
            setattr(self, field, value)
        self._add_stages(other)

    def _add_stages(self, other: Summary) -> None:
        for field in SUMS:
            setattr(self, field, _sum(getattr(self, field), getattr(other, field)))
        if other.reason:
            self.reason, self.rows = other.reason, other.rows
        if other.worker_reason:
            self.worker_reason, self.worker_rows = other.worker_reason, other.worker_rows


COLUMNS = Summary.__struct_fields__
"""What the file has a column for."""


def summarized(resources: Iterable[ResourceSpans], size: int) -> Summary:
    """Return the summary of spans of one trace, which take `size` bytes."""
    summary = Summary(bytes=size)
    for resource in resources:
        service = str(_asked(resource.resource.attributes, SERVICE).get("service.name", ""))
        for scope in resource.scope_spans:
            for span in scope.spans:
                _note(summary, span, is_worker=service == WORKER)
    if summary.entry_at == NEVER:
        summary.duration = max(0, summary.ended - summary.started)
    return summary


def plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    """Return attributes as Python values; of arrays and maps nothing is kept."""
    return {item.key: _value(item.value) for item in attributes}


def _asked(attributes: Iterable[KeyValue], keys: Container[str]) -> dict[str, Any]:
    return {key: _value(item.value) for item in attributes if (key := item.key) in keys}


def _note(summary: Summary, span: Span, *, is_worker: bool) -> None:
    attributes = _asked(span.attributes, ASKED)
    # What a client of ours writes is only as good as the client: numbers beyond SQLite's integers are cut.
    started, ended = (min(time, NEVER) for time in (span.start_time_unix_nano, span.end_time_unix_nano))
    summary.spans += 1
    summary.started, summary.ended = min(summary.started, started), max(summary.ended, ended)
    if summary.entry_at == NEVER:
        summary.failed = summary.failed or span.status.code == Status.STATUS_CODE_ERROR
    summary.model = summary.model or _text(attributes, "app.model.name")
    summary.version = summary.version or _text(attributes, "app.model.version")
    summary.kept = summary.kept or _text(attributes, "app.kept")
    if span.kind == Span.SPAN_KIND_SERVER and started < summary.entry_at:
        _enter(summary, span, attributes, started, ended)
    if not span.parent_span_id and summary.entry_at == NEVER:
        summary.name = span.name[:LONGEST_TEXT]
    _add_stage(summary, span, attributes, max(0, ended - started), is_worker=is_worker)


def _enter(summary: Summary, span: Span, attributes: Mapping[str, Any], started: int, ended: int) -> None:
    summary.entry_at, summary.duration, summary.name = started, max(0, ended - started), span.name[:LONGEST_TEXT]
    summary.failed = span.status.code == Status.STATUS_CODE_ERROR
    summary.request_id = _text(attributes, "app.request.id")
    summary.status = _text(attributes, "http.response.status_code") or _text(attributes, "rpc.response.status_code")


def _add_stage(summary: Summary, span: Span, attributes: Mapping[str, Any], time: int, *, is_worker: bool) -> None:
    reason, rows = _text(attributes, "app.batch.reason"), attributes.get("app.batch.rows", 0)
    if span.kind == Span.SPAN_KIND_CLIENT and reason:  # others are calls by the client's own programs
        summary.calls = _sum(summary.calls, time)
        summary.reason, summary.rows = reason, _count(rows)
    elif span.name == "queue" and is_worker:
        summary.worker_queue = _sum(summary.worker_queue, time)
    elif span.name == "queue":
        summary.queue = _sum(summary.queue, time)
    elif span.name in BORDERS and not is_worker:
        setattr(summary, span.name, _sum(getattr(summary, span.name), time))
    elif span.name == "compute":
        summary.compute = _sum(summary.compute, time)
        summary.worker_reason, summary.worker_rows = reason or summary.worker_reason, _count(rows)


def _sum(one: int, other: int) -> int:
    # The sum of two times that SQLite takes may be one that it does not.
    return min(NEVER, one + other)


def _text(attributes: Mapping[str, Any], key: str) -> str:
    return str(attributes.get(key, ""))[:LONGEST_TEXT]


def _count(value: Any) -> int:
    return value if isinstance(value, int) else 0


def _value(value: AnyValue) -> str | int | float | bool:
    kind = value.WhichOneof("value")
    if kind in PLAIN:
        plain_value: str | int | float | bool = getattr(value, kind)
        return plain_value
    return ""
