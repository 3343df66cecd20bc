"""Statistics of several workers as those of one: every number is added, but the time of the last inference."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from inference_pb import open_inference_pb2 as wire

Message = Any
LAST = "last_inference"


def summed(parts: Iterable[wire.ModelStatistics]) -> list[wire.ModelStatistics]:
    """Return one entry for each version of each model, in the order of their names."""
    found: dict[tuple[str, str], list[wire.ModelStatistics]] = {}
    for part in parts:
        found.setdefault((part.name, part.version), []).append(part)
    return [_of_one(found[key]) for key in sorted(found)]


def _of_one(parts: Sequence[wire.ModelStatistics]) -> wire.ModelStatistics:
    total = wire.ModelStatistics()
    for part in parts:
        total.last_inference = max(total.last_inference, part.last_inference)
        total.inference_count += part.inference_count
        total.execution_count += part.execution_count
        _add_durations(total.inference_stats, part.inference_stats)
    total.name, total.version = parts[0].name, parts[0].version
    total.batch_stats.extend(_by_size([each for part in parts for each in part.batch_stats]))
    total.memory_usage.extend(_by_place([each for part in parts for each in part.memory_usage]))
    return total


def _by_size(parts: Sequence[wire.InferBatchStatistics]) -> list[wire.InferBatchStatistics]:
    found: dict[int, wire.InferBatchStatistics] = {}
    for part in parts:
        total = found.setdefault(part.batch_size, wire.InferBatchStatistics(batch_size=part.batch_size))
        _add_durations(total, part)
    return [found[size] for size in sorted(found)]


def _by_place(parts: Sequence[wire.MemoryUsage]) -> list[wire.MemoryUsage]:
    found: dict[tuple[str, int], wire.MemoryUsage] = {}
    for part in parts:
        total = found.setdefault((part.type, part.id), wire.MemoryUsage(type=part.type, id=part.id))
        total.byte_size += part.byte_size
    return [found[key] for key in sorted(found)]


def _add_durations(total: Message, part: Message) -> None:
    for field in part.DESCRIPTOR.fields:
        if field.message_type is wire.StatisticDuration.DESCRIPTOR:
            duration, added = getattr(total, field.name), getattr(part, field.name)
            duration.SetInParent()
            duration.count += added.count
            duration.ns += added.ns
