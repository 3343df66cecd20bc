"""An OTLP export taken apart: exporters send spans of many traces together, the store keeps each trace by itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, TracesData

from otel.requests import TRACE_ID_BYTES

COPIED_BYTES = 16 * 1024 * 1024
"""What the resources and scopes of one export may take, each copied for every trace that has spans under it.

As much as an export itself may have, so that one whose resources have spans of one trace each always fits.
"""

Pieces = dict[bytes, TracesData]


class Taken(NamedTuple):
    """An export's traces, and how many of its spans are in none: without a valid trace id, or beyond the bound."""

    pieces: Pieces
    malformed: int
    large: int


def by_trace(resources: Iterable[ResourceSpans], copied_bytes: int = COPIED_BYTES) -> Taken:
    """Return the spans of each trace, under their resources and scopes, of which `copied_bytes` are made at most.

    A valid id has 16 bytes that are not all zero (opentelemetry-proto, trace.proto).
    """
    export = _Export(copied_bytes)
    for resource in resources:
        groups: dict[bytes, ResourceSpans] = {}
        size = resource.resource.ByteSize() + len(resource.schema_url)
        for scope in resource.scope_spans:
            export.take(scope, resource, groups, size)
    return Taken(export.pieces, export.malformed, export.large)


def count(resources: Iterable[ResourceSpans]) -> int:
    """Return how many spans there are."""
    return sum(len(scope.spans) for resource in resources for scope in resource.scope_spans)


def merged(taken: Iterable[tuple[bytes, TracesData]], most_bytes: int) -> list[tuple[bytes, TracesData]]:
    """Return pieces of which those of one trace are one, where together they have at most so many bytes."""
    found: list[tuple[bytes, TracesData]] = []
    last: dict[bytes, TracesData] = {}
    for trace_id, piece in taken:
        whole = last.get(trace_id)
        if whole is not None and whole.ByteSize() + piece.ByteSize() <= most_bytes:
            whole.MergeFrom(piece)
        else:
            last[trace_id] = piece
            found.append((trace_id, piece))
    return found


class _Export:
    def __init__(self, room: int) -> None:
        self.pieces: Pieces = {}
        self.malformed = self.large = 0
        self._room = room

    def take(self, scope: ScopeSpans, whole: ResourceSpans, groups: dict[bytes, ResourceSpans], size: int) -> None:
        scopes: dict[bytes, ScopeSpans | None] = {}
        scope_size = scope.scope.ByteSize() + len(scope.schema_url)
        for span in scope.spans:
            trace_id = span.trace_id
            if len(trace_id) != TRACE_ID_BYTES or not any(trace_id):
                self.malformed += 1
                continue
            if trace_id not in scopes:
                fits = self._fits(scope_size if trace_id in groups else scope_size + size)
                scopes[trace_id] = _scope(self._group(groups, trace_id, whole), scope) if fits else None
            place = scopes[trace_id]
            if place is None:
                self.large += 1
            else:
                place.spans.append(span)

    def _fits(self, size: int) -> bool:
        if size > self._room:
            return False
        self._room -= size
        return True

    def _group(self, groups: dict[bytes, ResourceSpans], trace_id: bytes, whole: ResourceSpans) -> ResourceSpans:
        if trace_id not in groups:
            group = self.pieces.setdefault(trace_id, TracesData()).resource_spans.add(schema_url=whole.schema_url)
            if whole.HasField("resource"):
                group.resource.CopyFrom(whole.resource)
            groups[trace_id] = group
        return groups[trace_id]


def _scope(group: ResourceSpans, whole: ScopeSpans) -> ScopeSpans:
    scope = group.scope_spans.add(schema_url=whole.schema_url)
    if whole.HasField("scope"):
        scope.scope.CopyFrom(whole.scope)
    return scope
