"""Traces as files that other tools read: OTLP in JSON.

Source: the OTLP specification, JSON protobuf encoding: ids are hexadecimal (not base64, as protobuf's own JSON has
bytes), enumerations are numbers, 64-bit integers are decimal texts, unknown names are ignored.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from inference_core.errors import InvalidInput

IDS: Mapping[str, re.Pattern[str]] = {
    "traceId": re.compile("(?!0{32})[0-9a-fA-F]{32}"),
    "spanId": re.compile("(?!0{16})[0-9a-fA-F]{16}"),
    "parentSpanId": re.compile("([0-9a-fA-F]{16})?"),
}
"""What each id has to be; a collector takes a span with another one, drops it and says nothing."""

LONGEST_REASON = 200
NOT_OTLP = "is not OTLP JSON: expected an object with resourceSpans"


def to_json(traces: TracesData) -> str:
    """Return traces as one JSON object, indented for people."""
    document = json_format.MessageToDict(traces, use_integers_for_enums=True)
    _each_id(document, lambda _, text: base64.b64decode(text).hex())
    return json.dumps(document, indent=1, ensure_ascii=False)


def from_json(text: str) -> TracesData:
    """Return the traces of a file: one JSON object, or one in each line as OTLP file exporters write them.

    What Jaeger's `/api/v3/traces` answers ({"result": ...}) is read, too. Raises InvalidInput with the line.
    """
    whole = TracesData()
    for place, document in _documents(text):
        whole.MergeFrom(_traces(document, place))
    return whole


def _documents(text: str) -> Iterator[tuple[str, Any]]:
    try:
        yield "The file", json.loads(text)
    except (ValueError, RecursionError):
        # Not splitlines: JSON's texts may have the other characters that end a line in Unicode.
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        if not lines:
            raise InvalidInput("The file is empty.") from None
        for number, line in lines:
            try:
                yield f"Line {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InvalidInput(f"Line {number} is not JSON: {error}.") from error


def _traces(document: Any, place: str) -> TracesData:
    inner = document.get("result", document) if isinstance(document, dict) else document
    if not isinstance(inner, dict) or not isinstance(inner.get("resourceSpans"), list):
        raise InvalidInput(f"{place} {NOT_OTLP}.")
    try:
        _each_id(inner, _bytes_of)
        return json_format.ParseDict(
            {"resourceSpans": inner["resourceSpans"]}, TracesData(), ignore_unknown_fields=True
        )
    except (json_format.ParseError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidInput(f"{place} {NOT_OTLP} ({_printable(str(error))}).") from error


def _printable(reason: str) -> str:
    # It repeats the file's own words, and a terminal obeys some characters.
    return "".join(letter if letter.isprintable() else " " for letter in reason[:LONGEST_REASON])


def _bytes_of(name: str, text: Any) -> str:
    if not isinstance(text, str) or not IDS[name].fullmatch(text):
        raise ValueError(f"{name} is {str(text)[:40]!r}, not {32 if name == 'traceId' else 16} hexadecimal digits")
    # As protobuf's own JSON has bytes.
    return base64.b64encode(bytes.fromhex(text)).decode()


def _each_id(document: dict[str, Any], change: Callable[[str, Any], str]) -> None:
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                for owner in (span, *span.get("links", ())):
                    for name in IDS:
                        if changed := change(name, owner.get(name) or ""):
                            owner[name] = changed
