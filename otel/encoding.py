"""Recorded spans as OTLP messages, for a third of what the SDK's own encoder takes.

That one hashes a resource's attributes as JSON for each span and makes every attribute anew. Here a resource is known
by its identity, as a recorder gives all its spans the same one, and an attribute that was made before is copied: most
attributes of a span are those of the span before.
Source: opentelemetry-proto, trace.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags, Status
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode

from otel.requests import SPAN_ID_BYTES, TRACE_ID_BYTES

KEPT_ATTRIBUTES = 2048
KINDS = {
    SpanKind.INTERNAL: Span.SPAN_KIND_INTERNAL,
    SpanKind.SERVER: Span.SPAN_KIND_SERVER,
    SpanKind.CLIENT: Span.SPAN_KIND_CLIENT,
}
CODES = {
    StatusCode.UNSET: Status.STATUS_CODE_UNSET,
    StatusCode.OK: Status.STATUS_CODE_OK,
    StatusCode.ERROR: Status.STATUS_CODE_ERROR,
}
FIELDS = {"str": "string_value", "bool": "bool_value", "int": "int_value", "float": "double_value"}
LOCAL = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
REMOTE = LOCAL | SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


def encoded(spans: Iterable[ReadableSpan]) -> ExportTraceServiceRequest:
    """Return spans that `otel.recorder` made, each below its resource.

    Attributes are texts, integers, floats and truth values; other types raise KeyError, as nothing here records them.
    """
    request = ExportTraceServiceRequest()
    groups: dict[int, ScopeSpans] = {}
    for span in spans:
        key = id(span.resource)
        if key not in groups:
            groups[key] = _group(request, span)
        groups[key].spans.append(_encoded(span))
    return request


def _group(request: ExportTraceServiceRequest, span: ReadableSpan) -> ScopeSpans:
    resource = ResourceSpans(
        resource=Resource(attributes=_attributes(span.resource.attributes)), schema_url=span.resource.schema_url
    )
    scope = span.instrumentation_scope
    if scope is None:
        resource.scope_spans.add()
    else:
        about = InstrumentationScope(name=scope.name, version=scope.version or "")
        resource.scope_spans.add(scope=about, schema_url=scope.schema_url or "")
    request.resource_spans.append(resource)
    return request.resource_spans[-1].scope_spans[0]


def _encoded(span: ReadableSpan) -> Span:
    context, parent = span.context, span.parent
    return Span(
        trace_id=context.trace_id.to_bytes(TRACE_ID_BYTES),
        span_id=context.span_id.to_bytes(SPAN_ID_BYTES),
        parent_span_id=parent.span_id.to_bytes(SPAN_ID_BYTES) if parent is not None else b"",
        name=span.name,
        kind=KINDS[span.kind],
        start_time_unix_nano=span.start_time or 0,
        end_time_unix_nano=span.end_time or 0,
        attributes=_attributes(span.attributes or {}),
        links=[_link(link) for link in span.links],
        status=Status(code=CODES[span.status.status_code], message=span.status.description or ""),
        flags=_flags(parent),
    )


def _link(link: Link) -> Span.Link:
    return Span.Link(
        trace_id=link.context.trace_id.to_bytes(TRACE_ID_BYTES),
        span_id=link.context.span_id.to_bytes(SPAN_ID_BYTES),
        attributes=_attributes(link.attributes or {}),
        flags=_flags(link.context),
    )


def _flags(context: SpanContext | None) -> int:
    return REMOTE if context is not None and context.is_remote else LOCAL


def _attributes(attributes: Mapping[str, Any]) -> Sequence[KeyValue]:
    # The type is part of what is known: 1 and True are the same key of a dictionary.
    return [_attribute(key, value, type(value).__name__) for key, value in attributes.items()]


@lru_cache(KEPT_ATTRIBUTES)
def _attribute(key: str, value: Any, kind: str) -> KeyValue:
    if kind == "str":
        # A lone surrogate in what a client wrote must not cost the spans that are sent with its own.
        value = value.encode("utf-8", "replace").decode()
    return KeyValue(key=key, value=AnyValue(**{FIELDS[kind]: value}))
