"""What is recorded leaves as the SDK would have encoded it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from otel.encoding import encoded
from otel.recorder import Attributes, Place, Recorder, Times, Told, link_to
from tests.otel.recorded import recorder_to

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
NUMBERS = st.integers(0, 2**63 - 1)
ATTRIBUTES = st.dictionaries(TEXTS.filter(bool), TEXTS | st.booleans() | st.integers(-(2**63), 2**63 - 1), max_size=4)
TOLD = st.builds(Told, TEXTS, st.sampled_from([SpanKind.INTERNAL, SpanKind.SERVER, SpanKind.CLIENT]), TEXTS)


def _hexadecimal(digits: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**digits - 1).map(lambda number: f"{number:0{digits}x}")


PLACES = st.builds(Place, _hexadecimal(32), _hexadecimal(16), _hexadecimal(16) | st.just(""))
SPANS = st.tuples(PLACES, TOLD, st.builds(Times, NUMBERS, NUMBERS), ATTRIBUTES, st.lists(ATTRIBUTES, max_size=2))


@given(st.lists(st.tuples(SPANS, st.sampled_from([0, 1, 2])), max_size=6))
def test_encoded_as_the_sdk_does(
    recorded: list[tuple[tuple[Place, Told, Times, Attributes, list[Attributes]], int]],
) -> None:
    """Whatever is recorded, and for whichever worker, is the message that the SDK's encoder makes of it."""
    memory = InMemorySpanExporter()
    recorder = recorder_to(memory)
    recorders: dict[int, Recorder] = {0: recorder, 1: recorder.on_behalf_of("worker", 1)}
    recorders[2] = recorder.on_behalf_of("worker", 2)
    for (place, told, times, attributes, linked), of in recorded:
        recorders[of].record(place, told, times, attributes, [link_to(place, about) for about in linked])
    spans = memory.get_finished_spans()
    assert encoded(spans) == encode_spans(spans)


def test_a_text_that_is_no_unicode_costs_nothing() -> None:
    """A lone surrogate, which UTF-8 has no form for, becomes a question mark; the span and its neighbours are sent."""
    memory = InMemorySpanExporter()
    recorder = recorder_to(memory)
    for path in ("/a\ud800", "/b"):
        recorder.record(Place("1" * 32, "2" * 16), Told("request"), Times(1, 2), {"url.path": path})
    ((scope,),) = (resource.scope_spans for resource in encoded(memory.get_finished_spans()).resource_spans)
    assert [span.attributes[0].value.string_value for span in scope.spans] == ["/a?", "/b"]
