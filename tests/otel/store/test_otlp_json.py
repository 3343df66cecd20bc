"""A trace leaves as OTLP JSON and comes back as it was."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from inference_core.errors import InvalidInput
from otel.store.otlp_json import from_json, to_json
from tests.otel.store.made import BEGAN, request, sent_by, span


def made() -> TracesData:
    """Return a trace with a link, a number beyond 2**53, bytes and text of any kind."""
    one = span("odd", 1, attributes={"large": 2**60, "text": 'é"\n\u2028'})
    one.links.add(trace_id=b"\xfb" * 16, span_id=b"\xff" * 8)
    one.attributes.add(key="bytes").value.bytes_value = b"\x00\xff"
    return TracesData(resource_spans=[*request(2, status=500), sent_by("gateway", one)])


def test_a_trace_survives_the_way_there_and_back() -> None:
    """What was exported is read again as the same spans."""
    assert from_json(to_json(made())) == made()


def test_ids_and_numbers_are_written_as_the_specification_says() -> None:
    """Ids are hexadecimal, times decimal texts, kinds and codes numbers."""
    document = json.loads(to_json(made()))
    server = document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert server["traceId"] == "0" * 31 + "2"
    assert server["startTimeUnixNano"] == str(BEGAN + 2_000_000)
    assert (server["kind"], server["status"]["code"]) == (Span.SPAN_KIND_SERVER, 2)
    odd = document["resourceSpans"][2]["scopeSpans"][0]["spans"][0]
    assert odd["links"] == [{"traceId": "fb" * 16, "spanId": "ff" * 8}]
    assert odd["attributes"][0]["value"] == {"intValue": str(2**60)}


def test_files_of_lines_and_jaegers_answers_are_read() -> None:
    """One object a line, as file exporters write, and a query's envelope are traces, too; unknown names are ignored."""
    one = json.loads(to_json(made()))
    lines = "\n".join(json.dumps({**one, "new": 1}) for _ in range(2))
    assert len(from_json(lines + "\n\n").resource_spans) == 6
    assert from_json(json.dumps({"result": one})) == made()


def with_ids(**changed: object) -> str:
    """Return a file of one span, with these of its fields changed."""
    one = {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", **changed}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [one]}]}]})


def test_only_a_line_feed_ends_a_line() -> None:
    """A text may have Unicode's other line ends as they are, also in a file of lines."""
    one = json.dumps(json.loads(to_json(made())), ensure_ascii=False)
    assert "\u2028" in one
    assert len(from_json(f"{one}\r\n{one}\n").resource_spans) == 6


def test_a_refusal_obeys_no_file() -> None:
    """What a file has in it moves no cursor and rings no bell where the reason is shown."""
    with pytest.raises(InvalidInput) as caught:
        from_json(with_ids(startTimeUnixNano="\x1b[2J\x07\n"))
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("{", "Line 1 is not JSON"),
        ("[]", "is not OTLP JSON"),
        ('{"resourceSpans": 1}', "is not OTLP JSON"),
        ('{"resourceSpans": [1]}', "is not OTLP JSON"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}', "is not OTLP JSON"),
        ('{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 5}]}]}]}', "is not OTLP JSON"),
        (with_ids(traceId="abcd"), "traceId is 'abcd', not 32 hexadecimal digits"),
        (with_ids(traceId="0" * 32), "not 32 hexadecimal digits"),
        (with_ids(traceId="00 " * 16), "not 32 hexadecimal digits"),
        (with_ids(spanId=None), "spanId is '', not 16 hexadecimal digits"),
        (with_ids(parentSpanId="12"), "parentSpanId is '12', not 16"),
        (with_ids(kind=10**30), "is not OTLP JSON"),
        (with_ids(name="\ud800"), "is not OTLP JSON"),
        (with_ids(startTimeUnixNano="9" * 30), "is not OTLP JSON"),
        ('{"resourceSpans": []}\nno', "Line 2 is not JSON"),
        ("[" * 100_000, "is not JSON"),
    ],
)
def test_a_file_that_is_none_is_named(text: str, said: str) -> None:
    """Whatever is wrong with a file, the message says in which line and what was expected."""
    with pytest.raises(InvalidInput, match=said):
        from_json(text)


KEYS = st.sampled_from(["resourceSpans", "scopeSpans", "spans", "links", "traceId", "spanId", "name"])
LEAVES = st.none() | st.booleans() | st.integers() | st.text()
DOCUMENTS = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner), max_leaves=20)


@given(DOCUMENTS)
def test_no_file_is_unexpected(document: object) -> None:
    """Any JSON is read or refused with a sentence."""
    try:
        from_json(json.dumps(document))
    except InvalidInput as refusal:
        assert refusal.message.endswith(".")  # noqa: PT017  # the other outcome is as good
