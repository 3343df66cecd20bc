"""JSON logs: one object for each line, on standard output, never above 4096 bytes.

Programs that share a pipe stay readable only while a write fits into PIPE_BUF (4096 bytes, pipe(7)), so every
line is cut to fit. Messages of gunicorn, uvicorn, grpc and opentelemetry pass through the same processors.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Mapping
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

LINE_LIMIT = 4000
QUIET_SECONDS = 60.0
NOISY = ("opentelemetry", "opentelemetry.exporter.otlp.proto.grpc.exporter", "opentelemetry.sdk")


def add_trace_ids(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Add the W3C trace and span id of the current context, sampled or not, unless the event names its own."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event.setdefault("trace_id", f"{context.trace_id:032x}")
        event.setdefault("span_id", f"{context.span_id:016x}")
    return event


def render(_: WrappedLogger, __: str, event: EventDict) -> str:
    """Return the event as one ASCII line of JSON within LINE_LIMIT bytes, control characters escaped.

    An event that is too long loses the tails of its longest texts and says so with `"cut": true`.
    """
    line = json.dumps(event, default=repr)
    limit = LINE_LIMIT
    while len(line) > LINE_LIMIT:
        limit //= 2
        line = json.dumps({**_cut(event, limit), "cut": True}, default=repr)
    return line


class OncePerInterval(logging.Filter):
    """Let each place in the code log at most once in an interval of seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._seen: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record may pass."""
        now = time.monotonic()
        key = (record.pathname, record.lineno)
        if now - self._seen.get(key, -self._seconds) < self._seconds:
            return False
        self._seen[key] = now
        return True


def configure(program: str, level: str, **identity: Any) -> None:
    """Send structlog and standard logging through one pipeline; call it once in each process, before any logging.

    `identity` (slot, ...) is added to every line of this process.
    """
    constant: Mapping[str, Any] = {"program": program, **identity}
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        lambda _, __, event: {**constant, **event},
        add_trace_ids,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(_number(level)),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    _join_standard_logging(shared, level)


def _join_standard_logging(shared: list[Processor], level: str) -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(_number(level))
    logging.captureWarnings(capture=True)
    for name in NOISY:
        logging.getLogger(name).filters = [OncePerInterval(QUIET_SECONDS)]


def _number(level: str) -> int:
    return logging.getLevelNamesMapping()[level.upper()]


def _cut(event: Mapping[str, Any], limit: int) -> dict[str, Any]:
    return {_head(str(key), limit): _head(value, limit) for key, value in event.items()}


def _head(value: Any, limit: int) -> Any:
    if isinstance(value, bool | int | float) or value is None:
        return value
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[:limit]
