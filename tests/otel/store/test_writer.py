"""What is written is found again, bounded in bytes and age, whatever the disk does."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
import structlog
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, TracesData

from otel.store import database, summary, writer
from otel.store.pieces import COPIED_BYTES
from otel.store.query import NoTraces, Search
from otel.store.summary import Summary
from otel.store.writer import TRACE_BYTES
from tests.otel.store.made import GATEWAY, Store, request, sent_by, span, spans_of, store, trace_id
from tests.waiting import wait_for

MEGABYTE = 1024 * 1024


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Store]:
    """Run a store with the default bounds."""
    with store(tmp_path) as one:
        yield one


def heavy(number: int, kilobytes: int) -> ResourceSpans:
    """Return one span that takes so many kilobytes."""
    return sent_by(GATEWAY, span("heavy", number, attributes={"text": "x" * 1024 * kilobytes}))


def test_spans_come_out_as_they_went_in(running: Store) -> None:
    """A trace has every span of every export with its resource, byte for byte."""
    gateway, worker = request(1)
    running.put(gateway)
    running.put(worker)
    traces = running.traces.trace(trace_id(1).hex())
    assert traces == TracesData(resource_spans=[gateway, worker])


def test_traces_that_travel_together_are_kept_apart(running: Store) -> None:
    """An export with spans of many traces becomes that many traces."""
    parts = [request(number)[0] for number in range(1, 6)]
    together = sent_by(GATEWAY, *(one for part in parts for scope in part.scope_spans for one in scope.spans))
    running.put(together)
    for number in range(1, 6):
        traces = running.traces.trace(trace_id(number).hex())
        assert traces is not None
        assert {one.trace_id for one in spans_of(traces)} == {trace_id(number)}
        assert len(spans_of(traces)) == 3


def test_spans_without_a_valid_trace_are_counted(running: Store) -> None:
    """An id of the wrong length or of zeros is dropped, and its neighbours are stored."""
    good, short, zero = span("good", 1), span("short", 2), span("zero", 3)
    short.trace_id, zero.trace_id = b"12", bytes(16)
    running.put(sent_by(GATEWAY, short, good, zero))
    assert running.number("spans_dropped_total", reason="malformed") == 2
    assert running.number("spans_stored_total") == 1


def test_times_beyond_sqlites_integers_do_no_harm(running: Store) -> None:
    """Whatever a client writes into its times, the span is stored."""
    odd = span("odd", 1)
    odd.start_time_unix_nano, odd.end_time_unix_nano = 2**64 - 1, 2**64 - 2
    running.put(sent_by(GATEWAY, odd))
    assert running.number("spans_stored_total") == 1


def test_sums_beyond_sqlites_integers_do_no_harm(running: Store) -> None:
    """Spans of one stage that each last as long as a number can tell are stored, together and one by one."""
    long = [span("queue", 1, at=number) for number in (1, 2)]
    for one in long:
        one.start_time_unix_nano, one.end_time_unix_nano = 0, 2**64 - 1
    running.put(sent_by(GATEWAY, *long))
    running.put(sent_by(GATEWAY, *long))
    running.put(request(2)[0])
    assert running.number("spans_stored_total") == 7


def test_a_trace_that_fails_costs_only_itself(running: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What raises for one trace of an export is counted and leaves nothing of that trace; all others are stored."""
    odd, good = sent_by(GATEWAY, span("good", 1), span("odd", 2)), request(3)[0]

    def summarized(resources: Iterable[ResourceSpans], size: int) -> Summary:
        made = summary.summarized(resources, size)
        return msgspec.structs.replace(made, queue=2**64) if made.name == "odd" else made

    monkeypatch.setattr(writer, "summarized", summarized)
    with structlog.testing.capture_logs() as logs:
        running.put(odd)
        running.put(good)
    assert running.number("spans_dropped_total", reason="unexpected") == 1
    assert running.traces.trace(trace_id(1).hex()) is not None
    assert running.traces.trace(trace_id(2).hex()) is None
    assert running.traces.of_request("request-3")
    assert [line["event"] for line in logs] == ["spans cannot be stored"]


def test_a_large_resource_is_not_multiplied(running: Store) -> None:
    """A resource of 1 MB over 300 traces is copied up to a bound; the spans beyond it are counted as large."""
    resource = sent_by(GATEWAY, *(span("small", number) for number in range(1, 301)))
    resource.resource.attributes.add(key="text").value.string_value = "x" * MEGABYTE
    running.put(resource)
    stored, large = running.number("spans_stored_total"), running.number("spans_dropped_total", reason="large")
    assert stored == COPIED_BYTES // MEGABYTE - 1
    assert stored + large == 300


def test_the_first_part_of_a_trace_has_the_bound_too(running: Store) -> None:
    """A trace that begins with more than a trace may have is not stored."""
    running.put(heavy(1, TRACE_BYTES // 1024 + 1))
    assert running.number("spans_dropped_total", reason="large") == 1
    assert running.traces.trace(trace_id(1).hex()) is None


def test_one_trace_has_a_bound(running: Store) -> None:
    """A client that sends everything under one id loses what is beyond the bound of a trace, and that is counted."""
    half = heavy(1, TRACE_BYTES // 2 // 1024 + 1)
    running.put(half)
    running.put(half)
    running.put(request(2)[0])
    assert running.number("spans_dropped_total", reason="large") == 1
    assert running.traces.of_request("request-2")


def test_the_oldest_make_room(tmp_path: Path) -> None:
    """The file stays within its bound, the newest traces are there, the oldest are gone."""
    bound = 2 * MEGABYTE
    with store(tmp_path, max_bytes=bound) as running:
        running.put_all([[heavy(number, 64)] for number in range(1, 101)])
        running.put(*request(101))
        wait_for(lambda: 0 < running.number("bytes") <= bound, "pruning")
        assert running.traces.trace(trace_id(101).hex()) is not None
        assert running.traces.trace(trace_id(100).hex()) is not None
        assert running.traces.trace(trace_id(1).hex()) is None
        assert running.number("traces_removed_total") > 0
        with sqlite3.connect(running.file) as connection:
            orphans = connection.execute("SELECT count(*) FROM parts WHERE trace NOT IN (SELECT id FROM traces)")
            assert orphans.fetchone() == (0,)
            assert database.file_bytes(connection) < bound * database.ROOM
        connection.close()


def test_what_is_too_old_goes(tmp_path: Path) -> None:
    """A trace is removed once it is older than the bound, without any arrival."""
    time = [1000.0]
    with store(tmp_path, clock=lambda: time[0], max_age=60.0) as running:
        running.put(request(1)[0])
        time[0] += 59
        running.put(request(2)[0])
        assert running.traces.of_request("request-1")
        time[0] += 2
        wait_for(lambda: not running.traces.of_request("request-1"), "removal")
        assert running.traces.of_request("request-2")


def test_a_smaller_bound_shrinks_the_file(tmp_path: Path) -> None:
    """A store that is started with a smaller bound gives space back to the disk."""
    with store(tmp_path) as running:
        running.put_all([[heavy(number, 64)] for number in range(1, 65)])
    assert running.file.stat().st_size > 4 * MEGABYTE
    with store(tmp_path, max_bytes=MEGABYTE) as running:
        wait_for(lambda: running.file.stat().st_size < 1.5 * MEGABYTE, "a smaller file")


def test_a_store_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """Traces outlive a restart, and parts that come later join them."""
    gateway, worker = request(1)
    with store(tmp_path) as running:
        running.put(gateway)
    with store(tmp_path) as running:
        running.put(worker)
        (found,) = running.traces.of_request("request-1")
        assert found.summary.spans == 5
        assert found.summary.compute == 4_000_000


@pytest.mark.parametrize("content", [b"no database", b"SQLite format 3\0" + b"\xff" * 8000])
def test_a_broken_file_is_put_aside(tmp_path: Path, content: bytes) -> None:
    """A file that is no database is kept under another name, and a new one takes traces."""
    (tmp_path / "traces.sqlite").write_bytes(content)
    with store(tmp_path) as running:
        running.put(*request(1))
        assert running.traces.of_request("request-1")
    assert (tmp_path / "traces.broken").read_bytes() == content


def test_a_file_of_another_version_is_put_aside(tmp_path: Path) -> None:
    """A file with other tables is never written into."""
    with sqlite3.connect(tmp_path / "traces.sqlite") as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with store(tmp_path) as running:
        running.put(*request(1))
        assert running.traces.of_request("request-1")
    assert (tmp_path / "traces.broken").exists()


def test_a_disk_that_cannot_be_written_costs_counted_spans(tmp_path: Path) -> None:
    """While the folder is missing spans are dropped and counted; when it is back the next ones are stored."""
    folder = tmp_path / "away"
    with store(folder) as running:
        running.put(*request(1))
        assert running.number("spans_dropped_total", reason="disk") == 5
        folder.mkdir()
        running.put(*request(2))
        assert running.traces.of_request("request-2")
        assert running.number("spans_stored_total") == 5


def test_a_full_disk_costs_counted_spans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite's own "database or disk is full" is answered by counting, and older traces stay readable."""
    with store(tmp_path) as running:
        running.put(*request(1))
    with monkeypatch.context() as patch:
        patch.setattr(database, "ROOM", 0.1)  # no page more than there are
        with store(tmp_path, max_bytes=MEGABYTE) as running:
            running.put(heavy(2, 512))
            assert running.number("spans_dropped_total", reason="disk") == 1
            assert running.traces.of_request("request-1")
    with store(tmp_path) as running:
        running.put(*request(3))
        assert running.traces.of_request("request-3")


def test_without_a_file_a_question_says_what_to_do(tmp_path: Path) -> None:
    """Asking where nothing was stored yet names the file and the program that makes it."""
    with store(tmp_path / "away") as running, pytest.raises(NoTraces, match="supervisorctl status"):
        running.traces.search(Search())
