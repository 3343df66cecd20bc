"""What is kept of a call once it has ended: one log line, and spans for each of its requests whose trace is kept.

Lines of calls that went well, or were refused to protect the others, are kept up to a rate; those of failures always.
What is kept of calls that went well is made for several of them together.
"""

from __future__ import annotations

import asyncio
import contextvars
from typing import Any

import structlog
from grpc import StatusCode
from prometheus_client import Counter

from inference_core.deadline import now
from inference_core.errors import InferenceHubError
from inference_core.members import SAMPLED
from inference_core.settings import Telemetry
from model_service.call import Call
from model_service.call_spans import FAILURES, CallSpans, Ended
from otel.allowance import Allowance
from otel.gathering import Gathering
from otel.logs import stamp
from otel.requests import RequestTraces

RATIONED = {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED}
REPORT_SECONDS = 1.0

log = structlog.get_logger()


class Keeping:
    """Which calls are kept: those of kept requests, some of direct clients, and those that ended badly."""

    def __init__(self, settings: Telemetry) -> None:
        self.traces = RequestTraces(settings)
        self._is_on = bool(settings.otlp_endpoint)
        self._slow_seconds = settings.slow_seconds

    def reason(self, call: Call, status: StatusCode) -> str:
        """Return why all requests of a call are kept for how it ended; empty where only their flags decide."""
        if not self._is_on:
            return ""
        # Asked by identity first: an Enum's hash is Python code.
        if status is not StatusCode.OK and status in FAILURES:
            return "failed"
        # Of a call that came from a gateway the gateway decides, from the times that its answer carries.
        is_slow = not call.trace.parent_id and now() - call.started_at > self._slow_seconds
        return "slow" if is_slow else ""


class Observer:
    """Begins and ends the observation of calls; one for each process."""

    def __init__(self, spans: CallSpans, keeping: Keeping, lines: Allowance, left_out: Counter) -> None:
        self._spans = spans
        self._keeping = keeping
        self._lines = lines
        self._left_out = left_out
        self._report: asyncio.TimerHandle | None = None
        self._recording = Gathering(spans.record)
        self._telling = Gathering(_tell_success)

    def begin(self, method: str, offered_id: str, traceparent: str, tracestate: str) -> Call:
        """Begin a call to `package.Service/Method`, with what its metadata says or empty texts."""
        return Call(method, self._keeping.traces.begin(traceparent, tracestate), offered_id)

    def end(self, call: Call, status: StatusCode, error: BaseException | None) -> None:
        """End it with its status and what it failed of."""
        if error is not None and not isinstance(error, InferenceHubError | asyncio.CancelledError):
            log.error("unexpected error", exc_info=error)
        kept = "" if call.trace.kept and not call.members else self._keeping.reason(call, status)
        ended = Ended(call, status, now(), kept)
        # A list in which none is sampled hardly ever has these characters.
        if call.trace.kept or SAMPLED in call.members or kept:
            self._record(ended)
        if (status is not StatusCode.OK and status not in RATIONED) or self._lines.take():
            self._write(ended, error)
        elif self._report is None:
            loop = asyncio.get_running_loop()
            # In a context of its own: the line is about no call.
            self._report = loop.call_later(REPORT_SECONDS, self._tell, context=contextvars.Context())

    def close(self) -> None:
        """Record what still waits, before the process ends."""
        self._recording.flush()
        self._telling.flush()
        self._spans.close()

    def _record(self, ended: Ended) -> None:
        if ended.status is StatusCode.OK:
            self._recording.add(ended)
        else:
            self._spans.record(ended)  # it may be computed still, and would then end later than this

    def _write(self, ended: Ended, error: BaseException | None) -> None:
        if ended.status is StatusCode.OK:
            self._telling.add(ended)
        else:
            log.info("call", **_line(ended, error))

    def _tell(self) -> None:
        self._report = None
        count = self._lines.reset()
        self._left_out.inc(count)
        log.info("calls not logged", count=count)


def _tell_success(ended: Ended) -> None:
    log.info("call", timestamp=stamp(ended.at), **_line(ended, None))


def _line(ended: Ended, error: BaseException | None) -> dict[str, Any]:
    call = ended.call
    milliseconds = round((ended.at - call.started_at) * 1000, 3)
    line = {"method": call.method, "status": ended.status.name, "milliseconds": milliseconds, **call.describe()}
    if isinstance(error, InferenceHubError):
        line["error"] = error.message
    return line
