"""What comes of one trace is put together, as far as one row may have it."""

from __future__ import annotations

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from otel.store.pieces import merged
from tests.otel.store.made import GATEWAY, WORKER, sent_by, span, trace_id

LARGE = 1_000_000


def piece(service: str, number: int, name: str = "request") -> tuple[bytes, TracesData]:
    """Return a piece of a trace with one span."""
    return trace_id(number), TracesData(resource_spans=[sent_by(service, span(name, number))])


def test_parts_of_a_trace_become_one() -> None:
    """Those of gateway and worker, in the order of the first ones."""
    taken = [piece(GATEWAY, 1), piece(GATEWAY, 2), piece(WORKER, 1)]
    found = merged(taken, LARGE)
    assert [(trace, len(each.resource_spans)) for trace, each in found] == [(trace_id(1), 2), (trace_id(2), 1)]


def test_a_part_that_would_be_too_much_stays_by_itself() -> None:
    """What a large part would make too large is not lost with it."""
    heavy = piece(WORKER, 1, "x" * LARGE)
    assert [len(each.resource_spans) for _, each in merged([piece(GATEWAY, 1), heavy, piece(GATEWAY, 1)], LARGE)] == [
        1,
        1,
        1,
    ]
