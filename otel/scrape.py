"""The numbers of all processes at one time, and what happened between two such times.

A histogram's percentile is found as Prometheus' histogram_quantile finds it: within a bucket, values are taken to be
spread evenly; of what is above the last bound, the bound is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import msgspec
from prometheus_client.multiprocess import MultiProcessCollector

Labels = tuple[tuple[str, str], ...]
Key = tuple[str, Labels]
Values = Mapping[Key, float]
Buckets = Sequence[tuple[float, float]]
"""Upper bounds in their order, and how many values are at most that; the last bound is infinity."""


class Scrape(msgspec.Struct, frozen=True):
    """All samples by the place of the process that counts them ("gateway-0"); `at` is on time.monotonic."""

    at: float
    places: Mapping[str, Values]

    def total(self, prefix: str) -> dict[Key, float]:
        """Return the sums over all places whose name begins so."""
        sums: dict[Key, float] = {}
        for place, values in self.places.items():
            if place.startswith(prefix):
                for key, value in values.items():
                    sums[key] = sums.get(key, 0.0) + value
        return sums


def take(folder: Path) -> Scrape:
    """Read the metrics files in a folder, none where it is not there; it blocks."""
    files: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.db")):
        # counter_PLACE.db, histogram_PLACE.db, gauge_sum_PLACE.db
        files.setdefault(file.stem.rpartition("_")[2], []).append(str(file))
    return Scrape(time.monotonic(), {place: _values(found) for place, found in files.items()})


def difference(newer: Values, older: Values) -> dict[Key, float]:
    """Return what was added to each counter, at least zero: files may have been replaced meanwhile."""
    return {key: max(0.0, value - older.get(key, 0.0)) for key, value in newer.items()}


def summed(values: Values, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(value for (each, has), value in values.items() if each == name and wanted.issubset(has))


def label_values(values: Values, name: str, label: str) -> list[str]:
    """Return which values a label of a metric takes, in alphabetical order."""
    return sorted({value for (each, has), _ in values.items() if each == name for key, value in has if key == label})


def buckets(values: Values, histogram: str, **labels: str) -> Buckets:
    """Return a histogram's buckets, summed over the series that have these labels."""
    wanted, found = set(labels.items()), dict[float, float]()
    for (each, has), value in values.items():
        if each == f"{histogram}_bucket" and wanted.issubset(has):
            bound = float(dict(has)["le"])
            found[bound] = found.get(bound, 0.0) + value
    return sorted(found.items())


def quantile(counted: Buckets, share: float) -> float | None:
    """Return the value that this share of the values does not exceed, None where there are none."""
    total = counted[-1][1] if counted else 0.0
    if total <= 0:
        return None
    wanted, lower, below = share * total, 0.0, 0.0
    for bound, count in counted:
        if count >= wanted and count > below:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (wanted - below) / (count - below)
        lower, below = bound, count
    return lower


def apart(counted: Buckets) -> list[tuple[float, float]]:
    """Return for each bound how many values are in its bucket alone."""
    before = [0.0, *(count for _, count in counted[:-1])]
    return [(bound, count - less) for (bound, count), less in zip(counted, before, strict=True)]


def _values(files: Iterable[str]) -> Values:
    merged = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]  # untyped there
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in merged
        for sample in metric.samples
    }
