"""Every log line of a process, ours and the libraries', goes through one pipeline."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, Sampler

from otel import logs
from tests.otel.lines import parsed


@pytest.fixture
def stdlib() -> Iterator[None]:
    """Leave standard logging and structlog as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    filters = {name: logging.getLogger(name).filters for name in logs.NOISY}
    yield
    root.handlers = handlers
    root.setLevel(level)
    for name, kept in filters.items():
        logging.getLogger(name).filters = kept
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


@pytest.mark.usefixtures("stdlib")
def test_a_log_that_is_off_has_no_line() -> None:
    """Neither ours nor a library's, whatever its level."""
    output = Output()
    output.configure("off", slot=1)
    structlog.get_logger().critical("ours")
    structlog.get_logger().info("ours")
    logging.getLogger("grpc").critical("a library's")
    assert output.lines() == []


class Output:
    """Standard output with the pipeline in front of it."""

    def __init__(self) -> None:
        self._stream = io.StringIO()

    def configure(self, level: str, slot: int) -> None:
        """Configure the pipeline as a program of that slot does."""
        with contextlib.redirect_stdout(self._stream):
            logs.configure("test", level, slot=slot)

    def lines(self) -> list[dict[str, Any]]:
        """Return the lines written since the last call."""
        text = self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        assert not text or text.endswith("\n")
        return [parsed(line) for line in text.split("\n")[:-1]]

    def line(self) -> dict[str, Any]:
        """Return the only line."""
        (line,) = self.lines()
        return line


@pytest.fixture
def output(stdlib: None) -> Output:
    """Configure the pipeline of a program called `test` in slot 3."""
    stream = Output()
    stream.configure("info", 3)
    return stream


def test_our_events_carry_who_when_and_what(output: Output) -> None:
    """A line names program, slot, level, UTC time and event, and the bound request."""
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        structlog.get_logger().info("call", milliseconds=1.5)
    line = output.line()
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "program": "test",
        "slot": 3,
        "level": "info",
        "event": "call",
        "milliseconds": 1.5,
        "request_id": "r1",
    }


def test_standard_logging_joins_the_same_stream(output: Output) -> None:
    """A library's record has the same fields, its logger's name and its `extra`."""
    logging.getLogger("library").warning("%s of %d", "one", 2, extra={"peer": "x\ny", "odd": {1: b"z"}})
    line = output.line()
    assert (line["event"], line["level"], line["logger"]) == ("one of 2", "warning", "library")
    assert (line["program"], line["slot"], line["peer"]) == ("test", 3, "x\ny")


def fall(depth: int) -> None:
    """Raise from far below, with a message of many lines."""
    if depth:
        fall_on(depth - 1)
    raise LookupError("last words\n" * 20)


def fall_on(depth: int) -> None:
    """Call back, so that no traceback abbreviates one function that repeats."""
    fall(depth)


@pytest.mark.parametrize("depth", [0, 200])
@pytest.mark.parametrize("logger", ["structlog", "logging"])
def test_a_traceback_is_one_field_with_its_end(output: Output, logger: str, depth: int) -> None:
    """An exception's traceback is one text in one line, and what was raised survives the cut."""
    sink = structlog.get_logger() if logger == "structlog" else logging.getLogger("library")
    try:
        fall(depth)
    except LookupError:
        sink.exception("failed")
    line = output.line()
    assert (line["event"], line["level"]) == ("failed", "error")
    assert line["exception"].startswith("Traceback (most recent call last):\n")
    assert line["exception"].rstrip().endswith("last words")


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "not sampled"])
def test_lines_inside_a_span_carry_its_ids(output: Output, sampler: Sampler) -> None:
    """Within a span, sampled or not, every line has its trace and span id in W3C form."""
    tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer(__name__)
    with tracer.start_as_current_span("work") as span:
        structlog.get_logger().info("ours")
        logging.getLogger("library").warning("theirs")
    context = span.get_span_context()
    ids = (trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id))
    assert [(line["trace_id"], line["span_id"]) for line in output.lines()] == [ids, ids]


def test_lines_outside_a_span_carry_no_ids(output: Output) -> None:
    """Without a span there are no ids that look like one."""
    structlog.get_logger().info("ours")
    assert not {"trace_id", "span_id"} & output.line().keys()


def test_an_event_may_name_its_own_trace(output: Output) -> None:
    """Ids that an event brings are kept."""
    with TracerProvider(shutdown_on_exit=False).get_tracer(__name__).start_as_current_span("work"):
        structlog.get_logger().info("ours", trace_id="f" * 32)
    assert output.line()["trace_id"] == "f" * 32


def test_the_level_holds_for_both(output: Output) -> None:
    """What lies below the level is written by neither; at `debug` both speak."""
    structlog.get_logger().debug("ours")
    logging.getLogger("library").debug("theirs")
    assert output.lines() == []
    output.configure("debug", 3)
    structlog.get_logger().debug("ours")
    logging.getLogger("library").debug("theirs")
    assert [line["event"] for line in output.lines()] == ["ours", "theirs"]


def test_configuring_twice_does_not_double_lines(output: Output) -> None:
    """A second configuration, as gunicorn's reload causes, replaces the first."""
    output.configure("info", 4)
    logging.getLogger("library").warning("once")
    assert output.line()["slot"] == 4


def test_warnings_are_lines_too(output: Output) -> None:
    """Python's warnings come as log lines instead of text on standard error."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", UserWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert "UserWarning: old" in output.line()["event"]


@pytest.mark.parametrize("name", logs.NOISY)
def test_a_noisy_library_speaks_once_in_a_while(output: Output, name: str) -> None:
    """Each place in a noisy library's code is heard once in an interval, and other places are heard beside it."""
    logger = logging.getLogger(name)
    for attempt in range(5):
        logger.warning("still no collector: %s", attempt)
    logger.warning("something else")
    assert [line["event"] for line in output.lines()] == ["still no collector: 0", "something else"]


def test_other_libraries_may_repeat_themselves(output: Output) -> None:
    """Nothing is held back from a logger that is not named as noisy."""
    for _ in range(3):
        logging.getLogger("library").warning("again")
    assert len(output.lines()) == 3


def test_silence_ends_with_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the interval the same place is heard again."""
    now = 100.0
    monkeypatch.setattr("otel.logs.time.monotonic", lambda: now)
    quiet = logs.OncePerInterval(60.0)
    record = logging.LogRecord("x", logging.WARNING, "file.py", 1, "again", None, None)
    assert [quiet.filter(record), quiet.filter(record)] == [True, False]
    now = 159.9
    assert not quiet.filter(record)
    now = 160.0
    assert quiet.filter(record)


@pytest.mark.parametrize("name", logs.NOISY)
def test_a_noisy_name_is_a_real_logger(name: str) -> None:
    """Each name is a module that logs under it, so that the filter meets its records."""
    module = importlib.import_module(name)
    assert logging.getLogger(name) in vars(module).values()
