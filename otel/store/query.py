"""Questions to the stored traces: read-only, from any process, while the store writes or is down."""

from __future__ import annotations

import contextlib
import math
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from inference_core.errors import Unavailable
from otel.store import database
from otel.store.summary import COLUMNS, Summary

FOUND = f"SELECT trace_id, {', '.join(COLUMNS)} FROM traces"  # noqa: S608  # columns of ours
FAILED = "failed"
NANOSECONDS = 1_000_000_000
MOST_FOUND = 10_000
LARGEST = 2.0**62
STEPS = 10_000
"""Of SQLite's virtual machine, between two looks at the clock: well below a millisecond."""


class NoTraces(Unavailable):
    """There is no trace file, or it cannot be read."""


class Found(msgspec.Struct, frozen=True):
    """A stored trace: its id as 32 hexadecimal digits, and what is known of it without its spans."""

    trace_id: str
    summary: Summary


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are meant; what is left empty does not matter.

    `status` is an HTTP status, a gRPC status name, or "failed" for every request with an error. Durations in seconds;
    `since` and `until` in seconds since 1970. `order` is "newest" or "slowest". `predictions`: leave out what
    asked for no prediction, such as a metrics scraper's requests.
    """

    request_id: str = ""
    model: str = ""
    status: str = ""
    kept: str = ""
    slower_than: float | None = None
    quicker_than: float | None = None
    since: float | None = None
    until: float | None = None
    order: str = "newest"
    limit: int = 20
    predictions: bool = False


class StoredTraces:
    """The traces in one file. Every method opens it anew and raises NoTraces where that fails.

    `seconds` bounds each question, for callers whose own users wait.
    """

    def __init__(self, file: Path, seconds: float = math.inf) -> None:
        self._file = file
        self._seconds = seconds

    def trace(self, trace_id: str) -> TracesData | None:
        """Return the spans of a trace, None where it is not stored; `trace_id` as 32 hexadecimal digits."""
        try:
            key = bytes.fromhex(trace_id)
        except ValueError:
            return None
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT body FROM parts WHERE trace = (SELECT id FROM traces WHERE trace_id = ?) ORDER BY id", (key,)
            ).fetchall()
        if not rows:
            return None
        whole = TracesData()
        for (body,) in rows:
            whole.MergeFromString(body)
        _keep_each_once(whole)
        return whole

    def find(self, trace_id: str) -> Found | None:
        """Return what is known of a trace without its spans; `trace_id` as 32 hexadecimal digits."""
        with self._reading() as connection:
            row = connection.execute(f"{FOUND} WHERE trace_id = ?", (bytes.fromhex(trace_id),)).fetchone()
        return None if row is None else _found(row)

    def of_request(self, request_id: str) -> list[Found]:
        """Return the traces of a request, newest first: a client may give several requests the same id."""
        return self.search(Search(request_id=request_id))

    def slowest(self, hours: float, limit: int = 20) -> list[Found]:
        """Return the slowest requests of the last hours, slowest first."""
        return self.search(Search(since=time.time() - hours * 3600, order="slowest", limit=limit))

    def failed(self, hours: float, limit: int = 20) -> list[Found]:
        """Return the failed requests of the last hours, newest first."""
        return self.search(Search(status="failed", since=time.time() - hours * 3600, limit=limit))

    def search(self, search: Search) -> list[Found]:
        """Return the requests that are meant, at most MOST_FOUND."""
        conditions, values = _conditions(search)
        order = "duration DESC" if search.order == "slowest" else "started DESC"
        limit = max(0, min(search.limit, MOST_FOUND))
        question = f"{FOUND} WHERE {' AND '.join(conditions)} ORDER BY {order} LIMIT {limit}"
        with self._reading() as connection:
            return [_found(row) for row in connection.execute(question, values)]

    def models(self) -> list[str]:
        """Return the names of all models that stored traces have."""
        with self._reading() as connection:
            names = connection.execute("SELECT DISTINCT model FROM traces WHERE model != '' ORDER BY model").fetchall()
        return [str(name) for (name,) in names]

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(database.open_for_reading(self._file)) as connection:
                latest = time.monotonic() + self._seconds
                connection.set_progress_handler(lambda: time.monotonic() > latest, STEPS)
                yield connection
        except sqlite3.Error as error:
            raise NoTraces(
                f"The trace file {self._file} cannot be read ({error}). The program tracestore makes it when it "
                "starts: supervisorctl status shows whether it runs."
            ) from error


def _keep_each_once(whole: TracesData) -> None:
    # A trace that is replayed into the store it came from arrives twice.
    seen: set[bytes] = set()
    for scope in [scope for resource in whole.resource_spans for scope in resource.scope_spans]:
        for index in reversed(range(len(scope.spans))):
            if scope.spans[index].span_id in seen:
                del scope.spans[index]
            else:
                seen.add(scope.spans[index].span_id)


def _conditions(search: Search) -> tuple[Sequence[str], Sequence[Any]]:
    # A batch's own trace has no status.
    conditions, values = ["status != ''"], list[Any]()
    if search.status == FAILED:
        conditions.append("failed")
    if search.predictions:
        conditions.append("(model != '' OR name LIKE '%/predict' OR name LIKE '%infer')")
    wanted: tuple[tuple[str, Any], ...] = (
        ("request_id = ?", search.request_id or None),
        ("model = ?", search.model or None),
        ("status = ?", search.status if search.status not in {"", FAILED} else None),
        ("kept = ?", search.kept or None),
        ("duration >= ?", _nanoseconds(search.slower_than)),
        ("duration < ?", _nanoseconds(search.quicker_than)),
        ("started >= ?", _nanoseconds(search.since)),
        ("started < ?", _nanoseconds(search.until)),
    )
    for condition, value in wanted:
        if value is not None:
            conditions.append(condition)
            values.append(value)
    return conditions, values


def _nanoseconds(seconds: float | None) -> int | None:
    # SQLite's integers have 64 bits, and a command line has any number.
    return None if seconds is None else int(max(-LARGEST, min(seconds * NANOSECONDS, LARGEST)))


def _found(row: Sequence[Any]) -> Found:
    summary = Summary(*row[1:])
    summary.failed = bool(summary.failed)
    return Found(bytes(row[0]).hex(), summary)
