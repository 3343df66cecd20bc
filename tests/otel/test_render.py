"""Every event becomes one JSON object that fits into one atomic write, whatever was logged."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otel import logs
from tests.otel.lines import parsed

SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.complex_numbers(), st.dates()
)
KEYS = st.one_of(st.text(), st.integers(), st.tuples(st.integers()), st.binary(max_size=3), st.none(), st.booleans())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(KEYS, inner), st.tuples(inner)),
    max_leaves=8,
)


class Unprintable:
    """Cannot describe itself."""

    def __repr__(self) -> str:
        message = "no words"
        raise ValueError(message)


def nested(depth: int) -> list[Any]:
    """Return lists inside lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def cycle() -> list[Any]:
    """Return a list that contains itself."""
    value: list[Any] = []
    value.append(value)
    return value


def rendered(event: dict[Any, Any]) -> dict[str, Any]:
    """Return the object that an event becomes on its line."""
    return parsed(logs.render(None, "info", event))


@given(st.dictionaries(KEYS, VALUES))
def test_any_event_is_one_short_line_of_json(event: dict[Any, Any]) -> None:
    """Whatever an event holds, its line is ASCII, printable, one JSON object and no longer than 4096 bytes."""
    assert rendered(event) is not None


HOSTILE_EVENTS: dict[str, dict[Any, Any]] = {
    "huge numbers": {"a": 10**4200, "b": 10**5000},
    "many keys": {f"key {number}": number for number in range(3000)},
    "many odd keys": {(number,): number for number in range(3000)},
    "letters of twelve bytes": {"\x7f" * 5000: "\N{PILE OF POO}" * 5000},
    "long kept texts": dict.fromkeys(logs.KEPT, "\N{PILE OF POO}" * 5000) | {str(key): "x" * 99 for key in range(99)},
    "a cycle": {"event": "x", "value": cycle()},
    "deep nesting": {"event": "x", "value": nested(50_000)},
    "a broken repr": {"event": "x", "value": Unprintable()},
    "odd inner keys": {"event": "x", "value": {("a",): {b"b": float("nan")}}},
    "half a surrogate pair": {"event": "\ud800 alone"},
}


@pytest.mark.parametrize("event", HOSTILE_EVENTS.values(), ids=HOSTILE_EVENTS)
def test_a_hostile_event_is_one_short_line_of_json(event: dict[Any, Any]) -> None:
    """Events that JSON cannot hold, or that no line can, still become a line that says what happened."""
    document = rendered(event)
    assert document.get("cut") or document["event"] == event["event"]


@given(st.dictionaries(st.text(), st.one_of(st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.text())))
def test_a_plain_event_arrives_unchanged(event: dict[str, Any]) -> None:
    """An event of texts and numbers is read back as it was logged."""
    assert rendered(event) == event


@pytest.mark.parametrize("control", ["\n", "\r", "\x1b[31m", "\x00", "\x7f", "\x85", "\u2028", '"},{"level":"x'])
def test_a_text_cannot_break_out_of_its_line(control: str) -> None:
    """Control characters and quotes stay inside their JSON text."""
    assert rendered({"event": control, control: "x"}) == {"event": control, control: "x"}


def test_a_cut_event_says_so_and_keeps_what_finds_it() -> None:
    """An event that is too long is marked, and its ids, numbers and both ends of its texts remain."""
    document = rendered({"event": "begin" + "x" * 100_000 + "end", "trace_id": "a" * 32, "seconds": 1.5})
    assert document["cut"] is True
    assert document["event"].startswith("begin")
    assert document["event"].endswith("end")
    assert (document["trace_id"], document["seconds"]) == ("a" * 32, 1.5)


def test_an_event_with_too_many_keys_keeps_the_ones_that_find_it() -> None:
    """Of an event with thousands of keys, what, when and the ids remain."""
    event = dict.fromkeys(logs.KEPT, "b" * 32) | {f"key {number}": "x" for number in range(5000)}
    assert rendered(event) == dict.fromkeys(logs.KEPT, "b" * 32) | {"cut": True}
