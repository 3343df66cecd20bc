"""The one thread that writes the file: batches of arrivals in, the oldest traces out when there is too much."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import structlog
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, TracesData

from inference_core.settings import TraceStore
from otel.metrics import StoreMetrics
from otel.store import database
from otel.store.inbox import Arrival, Inbox
from otel.store.pieces import by_trace, count, merged
from otel.store.summary import COLUMNS, Summary, summarized

COMMIT_BYTES = 1024 * 1024
IDLE_SECONDS = 0.5
TOGETHER_SECONDS, MANY_BYTES = 1.0, 8 * 1024
"""As often as a process exports: what several say of one trace becomes one row at once, where there is that much."""

COMPLAINT_SECONDS = 60.0
PRUNED_AT_ONCE = 16
PRUNE_SECONDS = 0.05
FREED_PAGES = 256
TRACE_BYTES = 4 * 1024 * 1024
"""What is kept of one trace; a client that sends everything under one id must not make a row that nobody can read."""

SELECT = f"SELECT id, {', '.join(COLUMNS)} FROM traces WHERE trace_id = ?"  # noqa: S608  # columns of ours
INSERT = f"INSERT INTO traces (trace_id, arrived, {', '.join(COLUMNS)}) VALUES (?, ?{', ?' * len(COLUMNS)})"  # noqa: S608

log = structlog.get_logger()


class Writer(threading.Thread):
    """Stores what the inbox gives until that is closed and empty. Whatever comes or fails, it goes on."""

    def __init__(
        self,
        file: Path,
        settings: TraceStore,
        inbox: Inbox,
        metrics: StoreMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(name="trace-writer", daemon=True)
        self._file, self._settings, self._inbox, self._metrics, self._clock = file, settings, inbox, metrics, clock
        self._connection: sqlite3.Connection | None = None
        self._complained: dict[str, float] = {}

    def run(self) -> None:
        """Store and prune until the inbox is closed and empty."""
        together = 0.0
        while not self._inbox.is_drained():
            arrivals = self._inbox.take(COMMIT_BYTES, IDLE_SECONDS, together)
            together = TOGETHER_SECONDS if sum(arrival.size for arrival in arrivals) > MANY_BYTES else 0.0
            try:
                self._turn(arrivals)
            except (sqlite3.Error, OSError) as error:
                self._failed(arrivals, error)
            self._metrics.inbox_bytes.set(self._inbox.bytes)
        self._close()

    def _turn(self, arrivals: list[Arrival]) -> None:
        if self._connection is None:
            self._connection = database.open_for_writing(self._file, self._settings.max_bytes)
        if arrivals:
            self._store(self._connection, arrivals)
        self._prune(self._connection)

    def _failed(self, arrivals: list[Arrival], error: sqlite3.Error | OSError) -> None:
        lost = sum(count(arrival.request.resource_spans) for arrival in arrivals)
        self._metrics.dropped("disk", lost)
        self._close()
        if isinstance(error, sqlite3.Error) and database.is_broken(error):
            database.put_aside(self._file, error)
        if self._may_complain("disk"):
            log.error("traces cannot be written", reason=str(error), file=str(self._file), spans_lost=lost)
        if not arrivals:
            threading.Event().wait(IDLE_SECONDS)

    def _may_complain(self, of: str) -> bool:
        now = time.monotonic()
        if now - self._complained.get(of, -COMPLAINT_SECONDS) < COMPLAINT_SECONDS:
            return False
        self._complained[of] = now
        return True

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    # Storing

    def _store(self, connection: sqlite3.Connection, arrivals: list[Arrival]) -> None:
        taken: list[tuple[bytes, TracesData]] = []
        for arrival in arrivals:
            with self._surviving(arrival.request.resource_spans):
                taken += self._taken_apart(arrival)
        stored = 0
        with _transaction(connection):
            for trace_id, piece in merged(taken, TRACE_BYTES):
                with self._surviving(piece.resource_spans):
                    stored += self._add(connection, trace_id, piece)
        self._metrics.spans_stored.inc(stored)

    def _taken_apart(self, arrival: Arrival) -> Iterable[tuple[bytes, TracesData]]:
        taken = by_trace(arrival.request.resource_spans)
        self._metrics.dropped("malformed", taken.malformed)
        self._metrics.dropped("large", taken.large)
        return taken.pieces.items()

    @contextlib.contextmanager
    def _surviving(self, spans: Iterable[ResourceSpans]) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error:
            raise
        except Exception:
            # What nobody thought of must cost neither its neighbours nor the thread.
            lost = count(spans)
            self._metrics.dropped("unexpected", lost)
            if self._may_complain("unexpected"):
                log.exception("spans cannot be stored", spans_lost=lost)

    def _add(self, connection: sqlite3.Connection, trace_id: bytes, piece: TracesData) -> int:
        body = piece.SerializeToString()
        if len(body) > TRACE_BYTES:
            self._metrics.dropped("large", count(piece.resource_spans))
            return 0
        summary = summarized(piece.resource_spans, len(body))
        row = connection.execute(SELECT, (trace_id,)).fetchone()
        if row is None:
            values = msgspec.structs.astuple(summary)
            trace = connection.execute(INSERT, (trace_id, self._clock(), *values)).lastrowid
        else:
            trace, spans = row[0], summary.spans
            whole = Summary(*row[1:])
            if whole.bytes + len(body) > TRACE_BYTES:
                self._metrics.dropped("large", spans)
                return 0
            whole.add(summary)
            _update(connection, row, msgspec.structs.astuple(whole))
        connection.execute("INSERT INTO parts (trace, body) VALUES (?, ?)", (trace, body))
        return summary.spans

    # Pruning: in steps that no arrival has to wait for

    def _prune(self, connection: sqlite3.Connection) -> None:
        until = time.monotonic() + PRUNE_SECONDS
        while self._remove(connection) and time.monotonic() < until:
            pass
        if database.file_bytes(connection) > self._settings.max_bytes:
            # `execute` would take one step of it, which is one page.
            connection.executescript(f"PRAGMA incremental_vacuum({FREED_PAGES});")
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._metrics.bytes.set(database.bytes_used(connection))

    def _remove(self, connection: sqlite3.Connection) -> bool:
        is_over = database.bytes_used(connection) > self._settings.max_bytes
        oldest = self._clock() - self._settings.max_age
        # Rows are in the order of their arrival.
        rows = connection.execute("SELECT id, arrived FROM traces ORDER BY id LIMIT ?", (PRUNED_AT_ONCE,)).fetchall()
        ids = [row[0] for row in rows if is_over or row[1] < oldest]
        if not ids:
            return False
        with _transaction(connection):
            connection.execute("DELETE FROM parts WHERE trace IN (SELECT id FROM traces WHERE id <= ?)", (ids[-1],))
            connection.execute("DELETE FROM traces WHERE id <= ?", (ids[-1],))
        self._metrics.traces_removed.inc(len(ids))
        return True


def _update(connection: sqlite3.Connection, row: Sequence[Any], values: Sequence[Any]) -> None:
    # An index is written whenever one of its columns is set, though it be to what it was.
    changed = [(column, new) for column, old, new in zip(COLUMNS, row[1:], values, strict=True) if old != new]
    columns = ", ".join(f"{column} = ?" for column, _ in changed)
    connection.execute(f"UPDATE traces SET {columns} WHERE id = ?", (*[new for _, new in changed], row[0]))  # noqa: S608  # as above


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
