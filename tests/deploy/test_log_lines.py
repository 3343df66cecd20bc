"""What is made of one line of a log."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as texts

from deploy.log_lines import Choice, read_line, shown

REQUEST = {
    "program": "gateway",
    "event": "request",
    "level": "info",
    "timestamp": "2026-11-24T12:00:00.5Z",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "request_id": "abc",
    "model": "digits",
}
LINE = read_line("gateway-0", json.dumps(REQUEST))
OTHER = read_line("supervisord", "2026-11-24 12:00:00,400 INFO spawned: 'inference-0' with pid 7")
PRINTABLE = 0x20


@pytest.mark.parametrize(
    "choice",
    [
        Choice(),
        Choice(trace="4bf92f35"),
        Choice(request="ab"),
        Choice(model="digits"),
        Choice(source="gateway"),
        Choice(level="info"),
        Choice(trace="4bf9", model="digits", source="gateway-0", level="info"),
    ],
)
def test_a_line_that_fits_everything_named_is_taken(choice: Choice) -> None:
    """Ids by their beginning, processes by theirs, models by their whole name, levels from the one named up."""
    assert choice.takes(LINE)


@pytest.mark.parametrize(
    "choice",
    [
        Choice(trace="bf92"),
        Choice(request="abcd"),
        Choice(model="digit"),
        Choice(source="inference"),
        Choice(level="warning"),
        Choice(trace="4bf92f35", model="sentiment"),
    ],
)
def test_a_line_that_misses_one_thing_is_not(choice: Choice) -> None:
    """One misfit is enough."""
    assert not choice.takes(LINE)


def test_the_line_of_a_batch_is_found_by_each_of_its_requests() -> None:
    """Whose ids it lists."""
    line = read_line("inference-0", json.dumps({"event": "call", "trace_ids": ["aaaa", "bbbb"], "request_ids": ["x1"]}))
    assert Choice(trace="bb").takes(line)
    assert Choice(request="x").takes(line)
    assert not Choice(trace="cc").takes(line)


def test_lines_of_both_kinds_sort_by_their_time() -> None:
    """Stamps of supervisord and those of JSON lines compare as text."""
    assert sorted((LINE, OTHER), key=lambda line: line.time) == [OTHER, LINE]


def test_a_line_shows_its_process_its_event_and_its_fields() -> None:
    """What the process's name says already is left out."""
    text = shown(coloured=False, width=12)(LINE)
    assert text.startswith("gateway-0    2026-11-24T12:00:00.5Z [info] request")
    assert "model=digits" in text
    assert "program" not in text


def test_colours_come_only_where_they_are_wanted() -> None:
    """Without them a line has no escape sequence."""
    assert "\x1b[" in shown(coloured=True, width=1)(LINE)
    assert "\x1b" not in shown(coloured=False, width=1)(LINE)


def test_a_traceback_keeps_its_lines() -> None:
    """It stands below its event as Python printed it."""
    line = read_line("w", json.dumps({"event": "unexpected error", "exception": "Traceback:\n  boom"}))
    assert "Traceback:\n  boom" in shown(coloured=False, width=1)(line)


@given(texts.dictionaries(texts.text(), texts.text() | texts.integers()), texts.text())
def test_nothing_in_a_line_reaches_the_terminal_as_a_command(fields: dict[str, str | int], text: str) -> None:
    """Whatever a client sent, no control character is written but the line ends of a traceback."""
    fields = {key: value for key, value in fields.items() if key != "exception"}
    for line in (read_line("w", json.dumps({"event": "e", **fields})), read_line("w", text)):
        out = shown(coloured=False, width=1)(line)
        assert all(ord(character) >= PRINTABLE and not 0x7F <= ord(character) < 0xA0 for character in out)


@given(texts.text())
def test_every_text_is_a_line(text: str) -> None:
    """What is no JSON object is kept as it is."""
    assert read_line("w", text).text == text
