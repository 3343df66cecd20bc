"""One request's place in its trace, at almost no cost for those that are not kept.

A kept request has a span of the OpenTelemetry SDK. Any other has two random numbers, which go on to the worker and into
the log all the same, so that its trace can be followed by its id. Source of the header's form: W3C Trace Context.
"""

from __future__ import annotations

import os
import random
import re

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    TraceFlags,
    Tracer,
    TraceState,
    set_span_in_context,
)

from inference_core.settings import Telemetry
from otel.allowance import Allowance

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 1
TRACESTATE = re.compile(r"[\x20-\x7e]{0,512}")
"""As long as W3C Trace Context asks to support, and only what gRPC carries: it refuses a whole call for other bytes."""

_random = random.Random(random.SystemRandom().getrandbits(64))  # noqa: S311  # identifiers, not secrets
os.register_at_fork(after_in_child=_random.seed)  # gunicorn's arbiter imports this, and its workers must differ


class RequestTrace(msgspec.Struct, frozen=True, gc=False):
    """The trace of one request: `span` is None unless the trace is kept."""

    trace_id: str
    span_id: str
    state: str
    span: Span | None

    @property
    def traceparent(self) -> str:
        """The header that continues this trace below this request."""
        return f"00-{self.trace_id}-{self.span_id}-{'00' if self.span is None else '01'}"

    def context(self) -> Context:
        """Return the context under which this request's further spans belong; it must be kept."""
        return set_span_in_context(self.span, Context()) if self.span is not None else Context()


class RequestTraces:
    """Begins traces and decides which are kept.

    Kept is what a trusted caller's sampled flag asks for, and of all others `traces_per_second` (evenly spread) and,
    beyond that, `sample_ratio`.
    """

    def __init__(self, tracer: Tracer, settings: Telemetry) -> None:
        self._tracer = tracer
        self._is_on = bool(settings.otlp_endpoint)
        self._trusts = settings.trust_sampled_flag
        self._ratio = settings.sample_ratio
        self.allowance = Allowance(settings.traces_per_second)

    def begin(self, name: str, traceparent: str, tracestate: str = "") -> RequestTrace:
        """Return the trace of a request that arrived with these header values, which may be empty or malformed."""
        match = TRACEPARENT.fullmatch(traceparent) if traceparent else None
        if match is None or (match[4] and traceparent.startswith("00")):
            return self._new(name, f"{_random.getrandbits(128) or 1:032x}", None, "")
        trace_id, parent_id, flags = match[1], match[2], int(match[3], 16)
        state = tracestate if TRACESTATE.fullmatch(tracestate) else ""
        if not self._trusts:
            return self._new(name, trace_id, parent_id, state)
        if flags & SAMPLED and self._is_on:
            return self._kept(name, trace_id, parent_id, state)
        return _passed_on(trace_id, state)

    def _new(self, name: str, trace_id: str, parent_id: str | None, state: str) -> RequestTrace:
        if self._is_on and (self.allowance.take() or _random.random() < self._ratio):
            return self._kept(name, trace_id, parent_id, state)
        return _passed_on(trace_id, state)

    def _kept(self, name: str, trace_id: str, parent_id: str | None, state: str) -> RequestTrace:
        context = Context() if parent_id is None else _remote(trace_id, parent_id, state)
        span = self._tracer.start_span(name, context, SpanKind.SERVER)
        ids = span.get_span_context()
        return RequestTrace(f"{ids.trace_id:032x}", f"{ids.span_id:016x}", state, span)


def attempt_traceparent(span: Span) -> str:
    """Return the header that continues a trace below a span that is kept."""
    ids = span.get_span_context()
    return f"00-{ids.trace_id:032x}-{ids.span_id:016x}-01"


def _passed_on(trace_id: str, state: str) -> RequestTrace:
    return RequestTrace(trace_id, f"{_random.getrandbits(64) or 1:016x}", state, None)


def _remote(trace_id: str, parent_id: str, state: str) -> Context:
    parent = SpanContext(
        int(trace_id, 16),
        int(parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([state]) if state else None,
    )
    return set_span_in_context(NonRecordingSpan(parent), Context())
