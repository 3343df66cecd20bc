"""What is noted of every request, whichever way it came: ids, trace, clock; at the end a log line and the metrics.

Lines of requests that succeeded are kept up to a rate, those that failed always; requests that were refused to protect
the others are told as sums, once a second. Lines and spans of what went well are made for several requests together.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import structlog

from gateway.call import Call
from gateway.keeping import UNAVAILABLE, Keeping
from gateway.request_spans import Ended, Observed, RequestSpans
from gateway.tally import Tally
from inference_core.deadline import Deadline, now
from inference_core.errors import InferenceHubError, Overloaded
from inference_core.names import request_id_from
from otel.allowance import Allowance
from otel.gathering import Gathering
from otel.logs import stamp
from otel.requests import RequestTraces

FIRST_FAILURE, SERVER_ERROR = 400, 500
REPORT_SECONDS = 1.0
PREDICT = "/predict"
PROBES = {"/health", "/ready", "/v2/health/live", "/v2/health/ready"}
"""Asked again and again by what waits for an answer: a 503 is what it wants to know, and no failure."""

DECIDED_FIRST = {"flag", "rate"}

__all__ = ["Observed", "Observer"]  # whoever observes needs both

log = structlog.get_logger()


class Kept(msgspec.Struct, frozen=True):
    """What decides which traces are kept, at a request's beginning and at its end, and what records them."""

    traces: RequestTraces
    keeping: Keeping
    spans: RequestSpans


Judge = Callable[[Call, int, float], None]


def _nobody(_: Call, __: int, ___: float) -> None:
    """Judge no arm."""


class Observer:
    """Begins and ends observations of one process; `judge` is told how each request of an arm ended."""

    def __init__(self, kept: Kept, lines: Allowance, tally: Tally, judge: Judge = _nobody) -> None:
        self._traces, self._keeping, self._spans = kept.traces, kept.keeping, kept.spans
        self._lines = lines
        self._tally = tally
        self._judge = judge
        self._refused: Counter[str] = Counter()
        self._report: asyncio.TimerHandle | None = None
        self._kept_after_all = 0
        self._recording = Gathering(self._spans.record)
        self._telling = Gathering(_tell_success)

    def begin(self, method: str, request_id: str, traceparent: str, tracestate: str) -> Observed:
        """Begin, with the header values that the client sent or empty ones."""
        started = now()
        return Observed(method, request_id_from(request_id), self._traces.begin(traceparent, tracestate), started)

    def end(
        self, observed: Observed, route: str, status: int, call: Call | None, error: InferenceHubError | None = None
    ) -> None:
        """End with a route template and a status, and the expected error that the client was told, if it was one."""
        ended = now()
        seconds = ended - observed.started
        is_probe = route in PROBES
        kept = _kept_probe(observed) if is_probe else observed.trace.kept or self._keeping.reason(status, seconds, call)
        if kept:
            self._record(Ended(observed, kept, ended, route, status, call))
        if call is not None or route == PREDICT:
            received = call.queued_at - observed.started if call is not None and call.queued_at else 0.0
            self._tally.answered(call, status, seconds, received)
        if call is not None and call.arm:
            self._judge(call, status, seconds)
        if isinstance(error, Overloaded):
            self._refused[error.reason] += 1
            self._tally.refused(call.model if call is not None else "", error.reason)
            self._report_soon()
        elif status >= FIRST_FAILURE and not is_probe:
            _tell_failure(Ended(observed, kept, ended, route, status, call), error)
        elif self._lines.take():
            self._telling.add(Ended(observed, kept, ended, route, status, call))
        else:
            self._report_soon()

    def turn_away(self, observed: Observed, route: str, model: str, reason: str) -> None:
        """End a request for a model with 503 before anything was made of it, as `end` would."""
        ended = now()
        kept = observed.trace.kept or self._keeping.reason(UNAVAILABLE, ended - observed.started, None)
        if kept:
            call = Call(Deadline(ended), observed.request_id, observed.trace, model=model)
            self._record(Ended(observed, kept, ended, route, UNAVAILABLE, call))
        self._tally.turned_away(model, reason, ended - observed.started)
        self._refused[reason] += 1
        self._report_soon()

    def _record(self, ended: Ended) -> None:
        call = ended.call
        # An attempt that goes on, of a client that left or beside the one that answered, would end later than these.
        if ended.status < FIRST_FAILURE and (call is None or call.attempts <= 1):
            self._recording.add(ended)
        else:
            self._spans.record(ended)
        self._tally.kept(ended.kept)
        if ended.kept not in DECIDED_FIRST:
            self._kept_after_all += 1

    def unexpected(self, observed: Observed, error: BaseException) -> None:
        """Write the traceback of an error that nobody foresaw."""
        log.error("unexpected error", exc_info=error, **_ids(observed))

    def close(self) -> None:
        """Tell what was not told yet, before the process ends."""
        if self._report is not None:
            self._report.cancel()
            self._tell()
        self._recording.flush()
        self._telling.flush()
        self._tally.close()

    def _report_soon(self) -> None:
        if self._report is None:
            self._report = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._tell)

    def _tell(self) -> None:
        self._report = None
        for reason, count in self._refused.items():
            log.warning("requests refused", reason=reason, count=count)
        self._refused.clear()
        left_out = self._lines.reset()
        traces = self._traces.allowance.reset() - self._kept_after_all
        self._kept_after_all = 0
        self._tally.left_out(left_out, max(0, traces))
        if left_out:
            log.info("requests not logged", count=left_out)


def _kept_probe(observed: Observed) -> str:
    return observed.trace.kept if observed.trace.kept == "flag" else ""


def _ids(observed: Observed) -> dict[str, str]:
    trace = observed.trace
    return {"request_id": observed.request_id, "trace_id": trace.trace_id, "span_id": trace.span_id}


def _tell_success(ended: Ended) -> None:
    log.info("request", timestamp=stamp(ended.at), **_line(ended))


def _tell_failure(ended: Ended, error: InferenceHubError | None) -> None:
    level = logging.ERROR if ended.status >= SERVER_ERROR else logging.INFO
    # Its kind alone: the sentence may quote what the client sent.
    told = {} if error is None else {"error_type": type(error).__name__}
    log.log(level, "request", **_line(ended), **told)


def _line(ended: Ended) -> dict[str, Any]:
    observed, call = ended.observed, ended.call
    milliseconds = round((ended.at - observed.started) * 1000, 3)
    line = {
        **_ids(observed),
        "method": observed.method,
        "route": ended.route,
        "status": ended.status,
        "milliseconds": milliseconds,
    }
    if call is not None and call.model:
        line["model"] = call.model
        if call.version:
            line["version"] = call.version
        if call.attempts > 1:
            line["attempts"] = call.attempts
    if call is not None:  # also where no such model or version is known
        line |= {name: value for name, value in (("arm", call.arm), ("cache", call.cache)) if value}
    return line
