"""What became of every request, as columns, and the file in which one process hands them to another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deploy.load.plan import Plan

PENDING, CLOSED, CUT, REFUSED, LATE, UNSENT, GARBLED = 0, -1, -2, -3, -4, -5, -6
TRANSPORT: Mapping[int, str] = {
    CLOSED: "closed",  # before a byte of the answer
    CUT: "cut",  # inside the answer
    REFUSED: "refused",  # no connection could be opened
    LATE: "late",  # no answer within the client's patience
    UNSENT: "unsent",  # the same, and every connection was busy until then
    GARBLED: "garbled",  # the answer is no HTTP
}
"""The negative statuses: what happened instead of an answer."""


@dataclass(frozen=True)
class Records:
    """One entry for each request, in the order in which they were due.

    `due`, `sent` and `ended` are seconds on CLOCK_MONOTONIC, which all processes of the machine share; `sent` is NaN
    for what never left. `status` is the HTTP status or a key of TRANSPORT; `expected` tells whether the plan counts it
    as no failure; `attempts` is how often it was sent.
    """

    due: NDArray[np.float64]
    sent: NDArray[np.float64]
    ended: NDArray[np.float64]
    status: NDArray[np.int16]
    kind: NDArray[np.uint8]
    attempts: NDArray[np.uint8]
    expected: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.due)

    @property
    def latency(self) -> NDArray[np.float64]:
        """Seconds from when each was due to its end."""
        return self.ended - self.due

    def where(self, mask: NDArray[np.bool_]) -> Records:
        """Return the requests for which the mask holds."""
        return replace(self, **{column.name: getattr(self, column.name)[mask] for column in fields(self)})

    def between(self, first: float, last: float) -> Records:
        """Return the requests that were due in that stretch of the monotonic clock."""
        return self.where((self.due >= first) & (self.due < last))

    def statuses(self) -> dict[str, int]:
        """Return how often each status came, by name."""
        counts = Counter(self.status.tolist())
        return {status_name(status): counts[status] for status in sorted(counts, reverse=True)}


def status_name(status: int) -> str:
    """Return a status as people read it: a number, or what happened to the transport."""
    return TRANSPORT.get(status, str(status))


def expectation(plan: Plan, status: NDArray[np.int16], kind: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which requests ended as their kind expects."""
    fits = np.zeros(len(status), np.bool_)
    for number, wanted in enumerate(plan.kinds):
        fits |= (kind == number) & np.isin(status, wanted.expected)
    return fits


def percentile(values: NDArray[np.float64], percent: float) -> float:
    """Return a percentile of the values that are there (nearest rank above), NaN where there are none."""
    return float(np.percentile(values, percent, method="higher")) if len(values) else float("nan")


def write(file: Path, records: Records) -> None:
    """Write the columns to a file."""
    columns: dict[str, Any] = {column.name: getattr(records, column.name) for column in fields(records)}
    with file.open("wb") as stream:
        np.savez(stream, **columns)


def read(file: Path) -> Records:
    """Read what `write` wrote; raises OSError or ValueError where that is not it."""
    with np.load(file, allow_pickle=False) as columns:
        return Records(**{column.name: columns[column.name] for column in fields(Records)})
