"""Stored traces through the console's routes: found, shown, bounded, and never anything but JSON."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from falcon.asgi import App
from falcon.testing import ASGIConductor
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway import errors
from gateway.resources import console_traces
from gateway.resources.console_traces import MOST_SPANS, SearchResource, TraceResource, Traces, WhyResource
from inference_core.errors import Unavailable
from tests.otel.store.made import GATEWAY, WORKER, Store, request, sent_by, span, store, trace_id

HOURS = 24 * 366 * 10
ATTACK = '<img src=x onerror=alert(1)>"}\r\n'


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Run a store with a good, a slow and a failed request, a batch that two of them link with, and a scraper's GET."""
    with store(tmp_path_factory.mktemp("store"), max_age=3660 * 86400.0) as running:
        batch = span("batch", 9, ms=3, attributes={"app.batch.size": 2})
        batch.links.add(trace_id=trace_id(1), span_id=b"12345678")
        linked = span("queue", 1, ms=1, parent=1)
        linked.links.add(trace_id=trace_id(9), span_id=batch.span_id)
        scrape = span("GET /metrics", 8, kind=Span.SPAN_KIND_SERVER, attributes={"http.response.status_code": 200})
        made = [request(1), request(2, ms=900), request(3, status=502, model=ATTACK)]
        running.put(
            *(part for parts in made for part in parts), sent_by(GATEWAY, scrape, linked), sent_by(WORKER, batch)
        )
        running.put(sent_by(GATEWAY, *(span(f"s{number}", 20, at=number) for number in range(MOST_SPANS + 3))))
        yield running


async def conductor(file: Path) -> AsyncIterator[ASGIConductor]:
    """Serve the three routes."""
    app, traces = App(), Traces(file)
    errors.install(app)
    app.add_route("/traces", SearchResource(traces))
    app.add_route("/traces/{trace}", TraceResource(traces))
    app.add_route("/why", WhyResource(traces))
    async with ASGIConductor(app) as running:
        yield running


@pytest.fixture
async def asking(filled: Store) -> AsyncIterator[ASGIConductor]:
    """Serve what is filled."""
    async for running in conductor(filled.file):
        yield running


async def found(asking: ASGIConductor, **query: Any) -> list[int]:
    """Return the numbers of the traces that a search finds, made long ago."""
    hours = (time.time() - 1_600_000_000) / 3600
    answer = await asking.simulate_get("/traces", params={"hours": min(hours, 24 * 366), **query})
    assert answer.status_code == 200, answer.text
    return [int(one["trace_id"], 16) for one in answer.json["found"]]


@pytest.fixture(autouse=True)
def _then(monkeypatch: pytest.MonkeyPatch) -> None:
    # The made traces are of 2023.
    monkeypatch.setattr("gateway.resources.console_traces.time.time", lambda: 1_700_000_060.0)


async def test_searches_find_what_is_meant(asking: ASGIConductor) -> None:
    """By nothing, by request id, by trace id, by model, by status, by duration; a scraper asks for none."""
    assert await found(asking) == [3, 2, 1]
    assert await found(asking, id="request-2") == [2]
    assert await found(asking, id=trace_id(1).hex()) == [1]
    assert await found(asking, id=trace_id(77).hex()) == []
    assert await found(asking, model="m", order="slowest") == [2, 1]
    assert await found(asking, status="failed") == [3]
    assert await found(asking, slower="0.5") == [2]
    assert await found(asking, limit="1") == [3]


async def test_a_row_says_where_the_time_went(asking: ASGIConductor) -> None:
    """Its stages are its duration, in seconds; the number of spans is told; texts of others come as they are."""
    answer = await asking.simulate_get("/traces", params={"status": "failed"})
    (row,) = answer.json["found"]
    assert (row["model"], row["request_id"], row["failed"], row["spans"]) == (ATTACK, "request-3", True, 5)
    assert sum(row["stages"].values()) == pytest.approx(row["duration"])
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_a_trace_has_its_spans_and_links_both_ways(asking: ASGIConductor) -> None:
    """The request leads to its batch and the batch to its request."""
    shown = (await asking.simulate_get(f"/traces/{trace_id(1).hex()}")).json
    assert [one["service"] for one in shown["spans"] if one["name"] == "compute"] == [WORKER]
    (link,) = [link for one in shown["spans"] for link in one["links"]]
    batch = (await asking.simulate_get(f"/traces/{link['trace_id']}")).json
    assert [one["trace_id"] for one in batch["spans"][0]["links"]] == [trace_id(1).hex()]
    assert batch["spans"][0]["attributes"] == {"app.batch.size": 2}


async def test_a_huge_trace_is_cut_and_says_so(asking: ASGIConductor) -> None:
    """Of more spans than a page can show the first ones come, with the number of the others."""
    shown = (await asking.simulate_get(f"/traces/{trace_id(20).hex()}")).json
    assert (len(shown["spans"]), shown["left_out"]) == (MOST_SPANS, 3)


async def test_an_odd_trace_is_shown_in_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind without a name is unspecified, a resource comes once for its spans, and of attributes the first 128."""
    threads: list[bool] = []

    def encoded(value: Any) -> bytes:
        threads.append(threading.current_thread() is threading.main_thread())
        return msgspec.json.encode(value)

    odd = span("odd", 1, kind=77, attributes={f"a{number}": number for number in range(200)})
    resource = sent_by("x" * 1000, odd, *(span(f"s{number}", 1, at=number) for number in range(1, 100)))
    resource.resource.attributes.add(key="text").value.string_value = "y" * 100_000
    with store(tmp_path) as running:
        running.put(resource)
    monkeypatch.setattr(console_traces, "_encoded", encoded)
    async for asking in conductor(running.file):
        answer = await asking.simulate_get(f"/traces/{trace_id(1).hex()}")
    first = answer.json["spans"][0]
    assert (first["kind"], len(first["attributes"]), first["service"]) == ("unspecified", 128, "x" * 256)
    assert answer.json["resources"][first["resource"]]["text"] == "y" * 100_000
    assert len(answer.content) < 200_000
    assert threads == [False]


@pytest.mark.parametrize("trace", ["0" * 32, "ff" * 16, "x", "' OR 1=1 --", "<script>", "%00", "a" * 33])
async def test_a_trace_that_is_not_stored_is_404(asking: ASGIConductor, trace: str) -> None:
    """Unknown and malformed ids are the same to a caller."""
    answer = await asking.simulate_get(f"/traces/{trace}")
    assert answer.status_code == 404
    assert "not stored" in answer.json["error"]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=201", "limit=x", "hours=0", "hours=inf", "hours=nan"),
        *("order=worst", "slower=-1", "what=1", "id=" + "x" * 257, "model=a&model=b"),
    ],
)
async def test_a_query_that_is_none_is_400(asking: ASGIConductor, query: str) -> None:
    """Numbers out of their bounds, unknown words and names get a sentence."""
    answer = await asking.simulate_get("/traces", query_string=query)
    assert answer.status_code == 400
    assert "query is not understood" in answer.json["error"]


@pytest.mark.parametrize("value", [ATTACK, "' OR '1'='1", "%", "\\", "ü" * 200])
async def test_hostile_texts_find_nothing_else(asking: ASGIConductor, value: str) -> None:
    """Quotes, wildcards and markup in a query are values, and match only themselves."""
    assert await found(asking, id=value) == []
    assert await found(asking, model=value) == ([3] if value == ATTACK else [])


async def test_why_splits_the_percentiles(asking: ASGIConductor) -> None:
    """A model's last minutes come as percentiles by stage and as text; an unknown one is 404 and names others."""
    shown = (await asking.simulate_get("/why", params={"model": "m"})).json
    assert shown["requests"] == 2
    assert set(shown["now"]) == {"p50", "p95", "p99"}
    assert shown["verdict"].startswith("The slowest requests spend most of their time in")
    unknown = await asking.simulate_get("/why", params={"model": "nobody"})
    assert unknown.status_code == 404
    assert (await asking.simulate_get("/why")).status_code == 400


async def test_without_a_store_the_page_is_told_what_to_do(tmp_path: Path) -> None:
    """No trace file, and one that is locked or broken, are 503 with a sentence."""
    async for asking in conductor(tmp_path / "none.sqlite"):
        answer = await asking.simulate_get("/traces")
        assert (answer.status_code, "supervisorctl status" in answer.json["error"]) == (503, True)
        assert str(tmp_path) not in answer.text, "where the file lies is not for whoever asks"
    broken = tmp_path / "broken.sqlite"
    broken.write_bytes(b"no database" * 1000)
    async for asking in conductor(broken):
        assert (await asking.simulate_get("/traces")).status_code == 503


async def test_a_question_that_takes_too_long_is_given_up(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite itself is stopped, so that no thread goes on with what nobody waits for."""
    monkeypatch.setattr("gateway.resources.console_traces.ASK_SECONDS", 0.05)
    slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
    traces = Traces(filled.file)

    def forever(stored: Any) -> Any:
        with stored._reading() as connection:
            return connection.execute(slow).fetchone()

    with pytest.raises(Unavailable, match="interrupted"):
        await traces.ask(forever)
