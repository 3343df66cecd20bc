"""A trace whose every text tries to become markup, as anybody on this machine may send it to the trace store."""

from __future__ import annotations

import time

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.e2e.hostile_model import ATTACK
from tests.e2e.system import System
from tests.otel.store.made import GATEWAY, sent_by, span
from tests.waiting import wait_for


def store_hostile(system: System) -> None:
    """Have the store keep it: name, ids, status, attributes, links, error and resource are attacks."""
    attributes: dict[str, str | int] = {
        "http.response.status_code": ATTACK,
        "app.request.id": ATTACK,
        "app.model.name": ATTACK,
        "app.model.version": ATTACK,
        "app.arm": ATTACK,
        "app.kept": ATTACK,
        ATTACK: ATTACK,
    }
    made = span(ATTACK, 66, ms=5, kind=Span.SPAN_KIND_SERVER, attributes=attributes, code=2)
    made.status.message = ATTACK
    made.links.add(trace_id=made.trace_id, span_id=made.span_id).attributes.add(key=ATTACK).value.string_value = ATTACK
    now = time.time_ns()
    made.start_time_unix_nano, made.end_time_unix_nano = now, now + 5_000_000
    resource = sent_by(GATEWAY, made)
    resource.resource.attributes.add(key="app.worker.slot").value.string_value = ATTACK
    system.send_spans(resource)
    stored = system.stored()
    wait_for(lambda: stored.of_request(ATTACK), "the hostile trace", 30)
