"""One request's place in its trace, at almost no cost for those that are not kept.

Every request has two random numbers, which go on to the worker and into the log, so that its trace can be followed by
its id. No span is made before the request has ended: whether it is kept may be known only then (`gateway.keeping`), and
until then times are noted and nothing else. Source of the header's form: W3C Trace Context.
"""

from __future__ import annotations

import os
import random
import re

import msgspec

from inference_core.settings import Telemetry
from otel.allowance import Allowance

TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 1
TRACE_ID_BYTES, SPAN_ID_BYTES = 16, 8
TRACESTATE = re.compile(r"[\x20-\x7e]{0,512}")
"""As long as W3C Trace Context asks to support, and only what gRPC carries: it refuses a whole call for other bytes."""

LAST_ROTATION = 15

_random = random.Random(random.SystemRandom().getrandbits(64))  # noqa: S311  # identifiers, not secrets
os.register_at_fork(after_in_child=_random.seed)  # gunicorn's arbiter imports this, and its workers must differ


class RequestTrace(msgspec.Struct, frozen=True, gc=False):
    """The trace of one request: ids in hexadecimal, `parent_id` empty where nobody called.

    `kept` says why its spans are recorded ("flag", "rate" or "ratio"), empty where that is not decided yet.
    """

    trace_id: str
    span_id: str
    parent_id: str
    state: str
    kept: str

    @property
    def traceparent(self) -> str:
        """The header that continues this trace below this request."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.kept else '00'}"

    def attempt_id(self, number: int) -> str:
        """Return the id of the span of that attempt, from 1.

        It is this request's own id rotated, so that it need not be noted for the many requests that are not kept.
        """
        places = (number - 1) % LAST_ROTATION + 1
        return self.span_id[places:] + self.span_id[:places]

    def attempt_traceparent(self, number: int) -> str:
        """Return the header that continues this trace below an attempt."""
        return f"00-{self.trace_id}-{self.attempt_id(number)}-{'01' if self.kept else '00'}"


class RequestTraces:
    """Begins traces and decides which are kept whatever becomes of them.

    Kept is what a trusted caller's sampled flag asks for, and of all others `traces_per_second` (evenly spread) and,
    beyond that, `sample_ratio`.
    """

    def __init__(self, settings: Telemetry) -> None:
        self._is_on = bool(settings.otlp_endpoint)
        self._trusts = settings.trust_sampled_flag
        self._ratio = settings.sample_ratio
        self.allowance = Allowance(settings.traces_per_second)

    def begin(self, traceparent: str, tracestate: str = "") -> RequestTrace:
        """Return the trace of a request that arrived with these header values, which may be empty or malformed."""
        match = TRACEPARENT.fullmatch(traceparent) if traceparent else None
        if match is None or (match[4] and traceparent.startswith("00")):
            return RequestTrace(new_trace_id(), new_span_id(), "", "", self._kept())
        trace_id, parent_id, flags = match[1], match[2], int(match[3], 16)
        state = tracestate if tracestate and TRACESTATE.fullmatch(tracestate) else ""
        kept = self._wanted(flags) if self._trusts else self._kept()
        return RequestTrace(trace_id, new_span_id(), parent_id, state, kept)

    def _wanted(self, flags: int) -> str:
        return "flag" if flags & SAMPLED and self._is_on else ""

    def _kept(self) -> str:
        if not self._is_on:
            return ""
        if self.allowance.take():
            return "rate"
        return "ratio" if self._ratio and _random.random() < self._ratio else ""


def new_span_id() -> str:
    """Return the id of a new span; valid ids are not zero."""
    return f"{_random.getrandbits(64) or 1:016x}"


def new_trace_id() -> str:
    """Return the id of a new trace."""
    return f"{_random.getrandbits(128) or 1:032x}"
