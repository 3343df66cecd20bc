"""A request's place in its trace: whose trace it is, whether it is kept, and what goes on to the worker."""

from __future__ import annotations

import multiprocessing
import re
from multiprocessing.connection import Connection

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.names import request_id_from
from inference_core.settings import Telemetry
from otel.requests import TRACEPARENT, RequestTrace, RequestTraces
from tests.otel.test_tracing import MALFORMED, PARENT, SPAN_ID, TRACE_ID

ENDPOINT = "http://127.0.0.1:1"
UNSAMPLED = f"{PARENT[:-2]}00"
ALL, NONE = (
    Telemetry(otlp_endpoint=ENDPOINT, sample_ratio=1.0),
    Telemetry(otlp_endpoint=ENDPOINT, sample_ratio=0.0, traces_per_second=0.0),
)
IDS = re.compile(r"[0-9a-f]{32}/[0-9a-f]{16}")


@pytest.fixture(scope="module")
def all_kept() -> RequestTraces:
    """Return what keeps all traces."""
    return RequestTraces(ALL)


def is_sound(trace: RequestTrace) -> bool:
    """Tell whether a trace has ids that go on."""
    sampled = "01" if trace.kept else "00"
    return bool(IDS.fullmatch(f"{trace.trace_id}/{trace.span_id}")) and trace.traceparent == (
        f"00-{trace.trace_id}-{trace.span_id}-{sampled}"
    )


@pytest.mark.parametrize("traceparent", MALFORMED, ids=range(len(MALFORMED)))
def test_a_malformed_traceparent_starts_a_new_trace(all_kept: RequestTraces, traceparent: str) -> None:
    """What W3C Trace Context does not allow is ignored, and with it the tracestate beside it."""
    trace = all_kept.begin(traceparent, "a=b")
    assert is_sound(trace)
    assert trace.trace_id != TRACE_ID
    assert trace.state == ""


@given(st.text(max_size=80) | st.from_regex(TRACEPARENT, fullmatch=True), st.text(max_size=40))
def test_nothing_is_unexpected(all_kept: RequestTraces, traceparent: str, tracestate: str) -> None:
    """Whatever the header fields are, the request has ids, and what goes on is printable ASCII."""
    trace = all_kept.begin(traceparent, tracestate)
    assert is_sound(trace)
    assert trace.state.isascii()
    assert not trace.state or trace.state.isprintable()


@pytest.mark.parametrize("flags", ["00", "01", "03"])
@pytest.mark.parametrize("trusted", [True, False])
def test_the_sampled_flag_counts_where_it_is_trusted(
    flags: str,
    trusted: bool,  # noqa: FBT001  # a parameter of the test
) -> None:
    """A trusted caller's flag decides for its trace; otherwise our own rates do, and the trace id stays."""
    for base in (ALL, NONE):
        telemetry = Telemetry(
            otlp_endpoint=ENDPOINT, sample_ratio=base.sample_ratio, traces_per_second=0.0, trust_sampled_flag=trusted
        )
        trace = RequestTraces(telemetry).begin(f"{PARENT[:-2]}{flags}")
        assert trace.trace_id == TRACE_ID
        assert trace.span_id != SPAN_ID
        assert (trace.kept != "") == (flags != "00" if trusted else base is ALL)


def test_so_many_traces_a_second_are_kept() -> None:
    """By default twenty of a burst are kept in each process, and all the others have ids, too."""
    traces = RequestTraces(Telemetry(otlp_endpoint=ENDPOINT))
    begun = [traces.begin("") for _ in range(500)]
    assert 20 <= sum(trace.kept == "rate" for trace in begun) <= 25
    assert all(is_sound(trace) for trace in begun)
    assert len({trace.trace_id for trace in begun}) == 500
    assert traces.allowance.left_out >= 475


def test_without_an_endpoint_nothing_is_kept() -> None:
    """An empty endpoint keeps a caller's trace id for the logs and for the worker, unsampled."""
    traces = RequestTraces(Telemetry(otlp_endpoint="", sample_ratio=1.0))
    for traceparent in ("", PARENT, UNSAMPLED):
        trace = traces.begin(traceparent, "a=b")
        assert trace.kept == ""
        assert trace.traceparent.endswith("-00")
    assert trace.trace_id == TRACE_ID
    assert trace.state == "a=b"


def test_a_trace_knows_its_caller(all_kept: RequestTraces) -> None:
    """The caller's span is the parent, and what goes on to the worker is below this request."""
    trace = all_kept.begin(PARENT, "a=b")
    assert (trace.parent_id, trace.kept) == (SPAN_ID, "flag")
    assert trace.traceparent == f"00-{TRACE_ID}-{trace.span_id}-01"
    assert all_kept.begin("").parent_id == ""


@given(st.integers(1, 2**64 - 1))
def test_attempts_have_ids_of_their_own(number: int) -> None:
    """Each attempt's span has another valid id, the same whenever it is asked for, and the request's own flag."""
    for kept in ("", "rate"):
        trace = RequestTrace(TRACE_ID, f"{number:016x}", "", "", kept)
        ids = [trace.attempt_id(attempt) for attempt in range(1, 4)]
        assert [trace.attempt_traceparent(attempt) for attempt in range(1, 4)] == [
            f"00-{TRACE_ID}-{each}-{'01' if kept else '00'}" for each in ids
        ]
        assert all(re.fullmatch("(?!0{16})[0-9a-f]{16}", each) for each in ids)
        repeats_itself = any(trace.span_id == trace.span_id[turn:] + trace.span_id[:turn] for turn in (1, 2, 4, 8))
        assert repeats_itself or len({trace.span_id, *ids}) == 4


@pytest.mark.parametrize("state", ["", "a=b", "k=" + "v" * 510])
def test_a_good_tracestate_goes_on(all_kept: RequestTraces, state: str) -> None:
    """It is handed on as it came."""
    assert all_kept.begin(PARENT, state).state == state


def test_processes_that_are_forked_draw_other_ids() -> None:
    """A worker that gunicorn forks anew repeats no id of the one before, although the generators were made earlier."""
    traces = RequestTraces(NONE)

    def draw(end: Connection) -> None:
        end.send((traces.begin("").trace_id, request_id_from("")))

    fork = multiprocessing.get_context("fork")
    drawn = []
    for _ in range(3):
        ours, theirs = fork.Pipe()
        child = fork.Process(target=draw, args=(theirs,))
        child.start()
        drawn += ours.recv()
        child.join()
    assert len(set(drawn)) == 6
