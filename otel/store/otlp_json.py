"""Traces as files that other tools read: OTLP in JSON.

Source: the OTLP specification, JSON protobuf encoding: ids are hexadecimal (not base64, as protobuf's own JSON has
bytes), enumerations are numbers, 64-bit integers are decimal texts, unknown names are ignored.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from inference_core.errors import InvalidInput

IDS = ("traceId", "spanId", "parentSpanId")
NOT_OTLP = "is not OTLP JSON: expected an object with resourceSpans"


def to_json(traces: TracesData) -> str:
    """Return traces as one JSON object, indented for people."""
    document = json_format.MessageToDict(traces, use_integers_for_enums=True)
    _each_id(document, lambda text: base64.b64decode(text).hex())
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
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
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
        _each_id(inner, lambda text: base64.b64encode(bytes.fromhex(text)).decode())
        return json_format.ParseDict(
            {"resourceSpans": inner["resourceSpans"]}, TracesData(), ignore_unknown_fields=True
        )
    except (json_format.ParseError, ValueError, TypeError, AttributeError, binascii.Error, RecursionError) as error:
        raise InvalidInput(f"{place} {NOT_OTLP} ({str(error)[:200]}).") from error


def _each_id(document: dict[str, Any], change: Callable[[str], str]) -> None:
    for resource in document.get("resourceSpans", ()):
        for scope in resource.get("scopeSpans", ()):
            for span in scope.get("spans", ()):
                for owner in (span, *span.get("links", ())):
                    for name in IDS:
                        if owner.get(name):
                            owner[name] = change(owner[name])
