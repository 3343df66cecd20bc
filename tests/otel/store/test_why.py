"""A percentile is split into stages that add up, and the stage that grew is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from inference_core.errors import UnknownModel
from otel.store.summary import Summary
from otel.store.why import STAGES, splits, stages_of, verdict, why
from tests.otel.store.made import BEGAN, GATEWAY, MILLISECOND, request, sent_by, span, store, trace_id

NOW = BEGAN / 10**9 + 60.0


def took(queue: float, compute: float, number: int = 0) -> Summary:
    """Return a request with so many milliseconds in queue and model, one on the wire, and half of one elsewhere."""
    duration = queue + compute + 1.5 + number / 1e6
    times = [round(time * MILLISECOND) for time in (queue, compute + 1, compute, duration)]
    return Summary(kept="rate", queue=times[0], calls=times[1], compute=times[2], duration=times[3])


@given(st.lists(st.integers(0, 10**12), min_size=7, max_size=7))
def test_stages_are_never_negative(times: list[int]) -> None:
    """Whatever the clocks said, a stage has no negative time, and together they are the request's."""
    receive, queue, calls, worker_queue, compute, respond, duration = times
    one = Summary(
        receive=receive, queue=queue, calls=calls, worker_queue=worker_queue, compute=compute, respond=respond,
        duration=duration,
    )  # fmt: skip
    stages = stages_of(one)
    assert list(stages) == list(STAGES)
    assert all(value >= 0 for value in stages.values())
    assert sum(stages.values()) == max(duration, receive + queue + respond)


def test_attempts_at_the_same_time_share_it() -> None:
    """A request of ten milliseconds that was sent twice at once has not computed for sixteen."""
    one = Summary(calls=18, worker_queue=0, compute=16, duration=10, queue=1)
    assert stages_of(one) == dict(zip(STAGES, (0, 1, 1, 0, 8, 0, 0), strict=True))


def test_the_stages_of_a_percentile_add_up_to_it() -> None:
    """The p99 is split by the slowest requests, the p50 by those in the middle."""
    requests = [took(1, 2, number) for number in range(98)] + [took(50, 2, number) for number in range(2)]
    found = splits(requests)
    assert found["p50"].stages == pytest.approx(
        {"receive": 0, "queue": 1e6, "hop": 1e6, "worker queue": 0, "compute": 2e6, "respond": 0, "rest": 5e5}, abs=100
    )
    assert found["p50"].total == pytest.approx(4.5e6, abs=1000)
    assert found["p99"].stages["queue"] > found["p95"].stages["queue"]


def test_the_verdict_names_what_grew() -> None:
    """Of a p99 that grew it says how much and by which stage; of one that did not, that nothing changed."""
    before = splits([took(1, 2, number) for number in range(200)])
    slower = splits([took(30, 2, number) for number in range(200)])
    assert "queue (90%)" in verdict(slower, before)
    assert "7.4 times what it was" in verdict(slower, before)
    assert "what changed most is queue: 1.00 ms before, 30.0 ms now" in verdict(slower, before)
    assert "about what it was" in verdict(before, before)
    assert "nothing stored from the hour before" in verdict(slower, {})


def test_a_stored_model_is_explained(tmp_path: Path) -> None:
    """The text has the split, the batches' reasons, and by number what was kept for how it ended."""
    with store(tmp_path) as running:
        for number in range(1, 9):
            running.put(*request(number, ms=20))
        running.put(*request(9, ms=900, kept="slow"))
        running.put(*request(10, status=502, kept="failed"))
        text = why(running.traces, "m", 5, lambda: NOW)
    assert "8 requests kept evenly (the hour before: 0)" in text
    assert "1 failed, 1 slow" in text
    assert "the p99 is a guess" in text
    rows = {line[:14].strip(): line.split() for line in text.splitlines() if line.startswith("  ")}
    assert [rows[stage][-1] for stage in STAGES] == ["0.00", "2.00", "9.00", "0.00", "9.00", "0.00", "0.00"]
    assert "Batches of the gateway left because: idle 100%; 4.0 rows" in text


def test_the_gateways_own_work_is_told_apart(tmp_path: Path) -> None:
    """What came before the queue and after the answer are stages, and nothing is left without a name."""
    number = 1
    borders = [span("receive", number, at=number - 1, ms=1, parent=1), span("respond", number, at=11, ms=3, parent=1)]
    entry = span("POST /predict", number, at=number - 1, ms=14, kind=Span.SPAN_KIND_SERVER)
    with store(tmp_path) as running:
        running.put(sent_by(GATEWAY, entry, *borders), *request(number)[1:])
        running.put(sent_by(GATEWAY, *request(number)[0].scope_spans[0].spans[1:]))
        found = running.traces.find(trace_id(number).hex())
    assert found is not None
    stages = {stage: nanoseconds / MILLISECOND for stage, nanoseconds in stages_of(found.summary).items()}
    assert (stages["receive"], stages["respond"], stages["rest"]) == (1, 3, 0)


def test_the_clients_own_calls_are_no_calls_to_workers(tmp_path: Path) -> None:
    """A client that sends its spans to the same store changes nothing about where its request's time went."""
    own = span("POST", 1, at=0, ms=500, kind=Span.SPAN_KIND_CLIENT)
    with store(tmp_path) as running:
        running.put(*request(1))
        before = running.traces.find(trace_id(1).hex())
        running.put(sent_by("shop", own))
        after = running.traces.find(trace_id(1).hex())
    assert before is not None
    assert after is not None
    assert (after.summary.calls, after.summary.reason, after.summary.rows) == (
        before.summary.calls, before.summary.reason, before.summary.rows,
    )  # fmt: skip
    assert before.summary.calls


def test_a_model_without_traces_names_those_that_have(tmp_path: Path) -> None:
    """A wrong name is answered with the right ones."""
    with store(tmp_path) as running:
        running.put(*request(1, model="digits"))
        with pytest.raises(UnknownModel, match=r"last 5 minutes\. Models with stored traces: digits"):
            why(running.traces, "digit", 5, lambda: NOW)
