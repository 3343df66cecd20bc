"""An OTLP export taken apart: exporters send spans of many traces together, the store keeps each trace by itself."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, TracesData

TRACE_ID_BYTES = 16

Pieces = dict[bytes, TracesData]


def by_trace(resources: Iterable[ResourceSpans]) -> tuple[Pieces, int]:
    """Return the spans of each trace, under their resources and scopes, and how many had no valid trace id.

    A valid id has 16 bytes that are not all zero (opentelemetry-proto, trace.proto).
    """
    pieces: Pieces = {}
    malformed = 0
    for resource in resources:
        groups: dict[bytes, ResourceSpans] = {}
        for scope in resource.scope_spans:
            scopes: dict[bytes, ScopeSpans] = {}
            for span in scope.spans:
                trace_id = span.trace_id
                if len(trace_id) != TRACE_ID_BYTES or not any(trace_id):
                    malformed += 1
                    continue
                if trace_id not in scopes:
                    scopes[trace_id] = _scope(_group(pieces, groups, trace_id, resource), scope)
                scopes[trace_id].spans.append(span)
    return pieces, malformed


def count(resources: Iterable[ResourceSpans]) -> int:
    """Return how many spans there are."""
    return sum(len(scope.spans) for resource in resources for scope in resource.scope_spans)


def _group(pieces: Pieces, groups: dict[bytes, ResourceSpans], trace_id: bytes, whole: ResourceSpans) -> ResourceSpans:
    if trace_id not in groups:
        group = pieces.setdefault(trace_id, TracesData()).resource_spans.add(schema_url=whole.schema_url)
        if whole.HasField("resource"):
            group.resource.CopyFrom(whole.resource)
        groups[trace_id] = group
    return groups[trace_id]


def _scope(group: ResourceSpans, whole: ScopeSpans) -> ScopeSpans:
    scope = group.scope_spans.add(schema_url=whole.schema_url)
    if whole.HasField("scope"):
        scope.scope.CopyFrom(whole.scope)
    return scope
