"""JSON logs: one object for each line, on standard output, never above 4096 bytes.

Programs that share a pipe stay readable only while a write fits into PIPE_BUF (4096 bytes, pipe(7)), so every
line is cut to fit. Messages of gunicorn, uvicorn, grpc and opentelemetry pass through the same processors.
"""

from __future__ import annotations

import atexit
import json
import logging
import math
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, NoReturn

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from inference_core.deadline import now
from otel.log_stream import Lines

LINE_LIMIT = 4000
CUTS = (2048, 1024, 512, 256, 128, 64, 32)
KEPT = ("program", "event", "level", "timestamp", "trace_id", "span_id", "request_id")
LONG_BITS = 64
OFF = "off"
QUIET_SECONDS = 60.0
NOISY = ("opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.sdk._shared_internal")
"""What complains about each lost batch. A filter does not reach the loggers below its own, so each is named."""

SUBJECT: ContextVar[Callable[[], Mapping[str, Any]] | None] = ContextVar("subject", default=None)
"""What a line is about: a function that is called only when there is a line, so that silence costs nothing."""


def add_subject(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add what the current SUBJECT says of itself, unless the event says otherwise."""
    describe = SUBJECT.get()
    return event if describe is None else {**describe(), **event}


def add_trace_ids(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the W3C trace and span id of the current context, sampled or not, unless the event names its own."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", f"{context.trace_id:032x}")
        event.setdefault("span_id", f"{context.span_id:016x}")
    return event


def render(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Return the event as one ASCII line of JSON within LINE_LIMIT bytes, control characters escaped.

    What JSON cannot hold (NaN, keys that are no text, cycles) is written as its `repr`. An event that is too long
    loses the middles of its texts and says so with `"cut": true`; one with too many keys keeps those of KEPT.
    """
    try:
        line = _ENCODER.encode(event)
    except (TypeError, ValueError, RecursionError):
        line = json.dumps(_flat(event))
    return line if len(line) <= LINE_LIMIT else _shortened(_flat(event))


def stamp(at: float) -> str:
    """Return the `timestamp` of a line about what happened at a time on the clock of Deadline."""
    moment = datetime.fromtimestamp(time.time() - (now() - at), UTC)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


class OncePerInterval(logging.Filter):
    """Let each place in the code log at most once in an interval of seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record may pass."""
        moment = time.monotonic()
        key = (record.pathname, record.lineno)
        if moment - self._seen.get(key, -self._seconds) < self._seconds:
            return False
        self._seen[key] = moment
        return True


def configure(program: str, level: str, **identity: Any) -> None:
    """Send structlog and standard logging through one pipeline; call it once in each process, before any logging.

    `identity` (slot, ...) is added to every line of this process. With the level OFF nothing is written.
    """
    constant: Mapping[str, Any] = {"program": program, **identity}
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        add_subject,
        lambda _, __, event: {**constant, **event},
        add_trace_ids,
        structlog.processors.add_log_level,
        structlog.processors.MaybeTimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    output = Lines(sys.stdout)
    atexit.register(output.flush)
    structlog.configure(
        processors=[_dropped] if level == OFF else [*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=True,
    )
    _join_standard_logging(shared, level, output)


def _join_standard_logging(shared: list[Processor], level: str, output: Lines) -> None:
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [logging.NullHandler()] if level == OFF else [handler]
    root.setLevel(_number(level))
    logging.captureWarnings(capture=True)
    for name in NOISY:
        logging.getLogger(name).filters = [OncePerInterval(QUIET_SECONDS)]


def _dropped(_: WrappedLogger, __: str, ___: EventDict) -> NoReturn:
    raise structlog.DropEvent


def _number(level: str) -> int:
    # structlog knows the levels that have names, and no other.
    return logging.CRITICAL if level == OFF else logging.getLevelNamesMapping()[level.upper()]


def _shortened(texts: Mapping[str, Any]) -> str:
    for limit in CUTS:
        line = json.dumps({**_cut(texts, limit), "cut": True})
        if len(line) <= LINE_LIMIT:
            return line
    return json.dumps({**_cut({key: texts[key] for key in KEPT if key in texts}, CUTS[-1]), "cut": True})


def _cut(texts: Mapping[str, Any], limit: int) -> dict[str, Any]:
    return {_ends(key, limit): _ends(value, limit) if isinstance(value, str) else value for key, value in texts.items()}


def _ends(text: str, limit: int) -> str:
    # The last line of a traceback says what happened, so the middle goes.
    return text if len(text) <= limit else f"{text[: limit // 2]}...{text[-limit // 2 :]}"


def _flat(event: Mapping[Any, Any]) -> dict[str, Any]:
    return {key if isinstance(key, str) else _description(key): _plain(value) for key, value in event.items()}


def _plain(value: Any) -> Any:
    is_number = isinstance(value, float) and math.isfinite(value)
    is_small = isinstance(value, int) and value.bit_length() <= LONG_BITS
    return value if isinstance(value, str) or value is None or is_number or is_small else _description(value)


def _description(value: Any) -> str:
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  # a value that cannot describe itself must not cost the log line
        return f"<{type(value).__name__} whose repr raised {type(error).__name__}>"


_ENCODER = json.JSONEncoder(default=_description, allow_nan=False)
