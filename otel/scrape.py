"""The numbers of all processes at one time, and what happened between two such times.

A histogram's percentile is found as Prometheus' histogram_quantile finds it: within a bucket, values are taken to be
spread evenly; of what is above the last bound, the bound is told.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec
from prometheus_client.multiprocess import MultiProcessCollector

Labels = tuple[tuple[str, str], ...]
Values = Mapping[str, Mapping[Labels, float]]
"""Samples by their names and labels."""

NONE: Mapping[Labels, float] = {}

Buckets = Sequence[tuple[float, float]]
"""Upper bounds in their order, and how many values are at most that; the last bound is infinity."""


class Scrape(msgspec.Struct, frozen=True):
    """All samples by the place of the process that counts them ("gateway-0"); `at` is on time.monotonic."""

    at: float
    places: Mapping[str, Values]

    def total(self, prefix: str) -> Values:
        """Return the sums over all places whose name begins so."""
        sums: dict[str, dict[Labels, float]] = {}
        for values in (values for place, values in self.places.items() if place.startswith(prefix)):
            for name, samples in values.items():
                added = sums.setdefault(name, {})
                for labels, value in samples.items():
                    added[labels] = added.get(labels, 0.0) + value
        return sums


def take(folder: Path) -> Scrape:
    """Read the metrics files in a folder, none where it is not there; it blocks."""
    files: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.db")):
        # counter_PLACE.db, histogram_PLACE.db, gauge_sum_PLACE.db
        files.setdefault(file.stem.rpartition("_")[2], []).append(str(file))
    return Scrape(time.monotonic(), {place: _values(found) for place, found in files.items()})


def difference(newer: Values, older: Values) -> Values:
    """Return what was added to each counter, at least zero: files may have been replaced meanwhile."""
    return {
        name: {labels: max(0.0, value - older.get(name, NONE).get(labels, 0.0)) for labels, value in samples.items()}
        for name, samples in newer.items()
    }


def summed(values: Values, name: str, **labels: str) -> float:
    """Return the sum of a metric's samples that have these labels."""
    wanted = set(labels.items())
    return sum(value for has, value in values.get(name, NONE).items() if wanted.issubset(has))


def label_values(values: Values, name: str, label: str) -> list[str]:
    """Return which values a label of a metric takes, in alphabetical order."""
    return sorted({value for has in values.get(name, NONE) for key, value in has if key == label})


def buckets(values: Values, histogram: str, **labels: str) -> Buckets:
    """Return a histogram's buckets, summed over the series that have these labels."""
    wanted, found = set(labels.items()), dict[float, float]()
    for has, value in values.get(f"{histogram}_bucket", NONE).items():
        if wanted.issubset(has):
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
    return [(bound, count - below) for (_, below), (bound, count) in pairwise([(0.0, 0.0), *counted])]


def _values(files: Iterable[str]) -> Values:
    found: dict[str, dict[Labels, float]] = {}
    for metric in MultiProcessCollector.merge(files):  # type: ignore[no-untyped-call]  # untyped there
        for sample in metric.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found
