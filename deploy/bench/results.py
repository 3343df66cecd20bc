"""What a run measured, as it is written to disk, and the medians over its rounds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from deploy.bench.machine import Machine

TAIL = 0.025


def write(folder: Path, name: str, result: msgspec.Struct, page: str) -> Path:
    """Write NAME.json and NAME.md into a folder, which is made where it is not there, and return the latter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    file = folder / f"{name}.md"
    file.write_text(page, encoding="utf-8")
    return file


class Cell(msgspec.Struct, frozen=True):
    """One server at one number of connections in one round.

    Times in milliseconds; `cpu` is CPU time of the server's whole process tree for each request; `errors` counts
    answers that were not good, and connections and requests that failed; `foreign` is the share of all cores (0..1)
    that neither the server nor the load generator used.
    """

    work: str
    contender: str
    round: int
    connections: int
    requests_per_second: float
    p50: float
    p99: float
    cpu: float
    errors: int
    foreign: float = 0.0


class Start(msgspec.Struct, frozen=True):
    """One server in one round: seconds from its start to its first right answer, MiB of memory after the load."""

    work: str
    contender: str
    round: int
    cold_start: float
    pss: float
    rss: float


class Run(msgspec.Struct, frozen=True):
    """A whole comparison; `labels` and `versions` are by contender, in the order of the tables."""

    date: str
    rounds: int
    seconds: int
    machine: Machine
    labels: Mapping[str, str]
    versions: Mapping[str, str]
    cells: Sequence[Cell]
    starts: Sequence[Start]
    failures: Sequence[str] = ()

    def works(self) -> list[str]:
        """Return the works in the order they were measured."""
        return list(dict.fromkeys(cell.work for cell in self.cells))

    def connections(self) -> list[int]:
        """Return the numbers of connections, ascending."""
        return sorted({cell.connections for cell in self.cells})

    def contenders(self, work: str) -> list[str]:
        """Return who was measured with that work, in the order of the tables."""
        measured = {cell.contender for cell in self.cells if cell.work == work}
        return [key for key in self.labels if key in measured]

    def select(self, work: str, contender: str, connections: int | None = None) -> list[Cell]:
        """Return the cells of one server, of all rounds."""
        return [
            cell
            for cell in self.cells
            if (cell.work, cell.contender) == (work, contender) and connections in {None, cell.connections}
        ]

    def select_starts(self, work: str, contender: str) -> list[Start]:
        """Return the starts of one server, of all rounds."""
        return [start for start in self.starts if (start.work, start.contender) == (work, contender)]


class Figures(msgspec.Struct, frozen=True):
    """Medians over the rounds, in the units of `Cell`; `spread` is (highest - lowest) / median of the rate."""

    requests_per_second: float
    p50: float
    p99: float
    cpu: float
    errors: int
    spread: float


def figures(cells: Sequence[Cell]) -> Figures:
    """Return the medians of one server's cells at one number of connections; errors are summed."""
    rates = [cell.requests_per_second for cell in cells]
    middle = statistics.median(rates)
    return Figures(
        requests_per_second=middle,
        p50=statistics.median(cell.p50 for cell in cells),
        p99=statistics.median(cell.p99 for cell in cells),
        cpu=statistics.median(cell.cpu for cell in cells),
        errors=sum(cell.errors for cell in cells),
        spread=(max(rates) - min(rates)) / middle if middle else 0.0,
    )


Metric = Callable[[Cell], float]


def ratio(ours: Iterable[Cell], theirs: Iterable[Cell], metric: Metric, best: Callable[[list[float]], float]) -> float:
    """Return the median over the rounds of our figure divided by the best of theirs in the same round.

    A round that one side lacks does not count; the answer is NaN where none is left or theirs was 0.
    """
    found = quotients(ours, theirs, metric, best)
    return statistics.median(found) if found else float("nan")


def quotients(
    ours: Iterable[Cell], theirs: Iterable[Cell], metric: Metric, best: Callable[[list[float]], float]
) -> list[float]:
    """Return what `ratio` takes the median of."""
    by_round = [_by_round(cells, metric) for cells in (ours, theirs)]
    common = sorted(by_round[0].keys() & by_round[1].keys())
    return [by_round[0][number][0] / divisor for number in common if (divisor := best(by_round[1][number])) > 0]


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """Return between which two of the values their distribution's median lies, with a probability of 95 % or more.

    Whatever the distribution: how many values are below the median is binomial. None for fewer than six.
    """
    ordered, count, rank, tail = sorted(values), len(values), 0, 0.0
    while (tail := tail + math.comb(count, rank) / 2**count) <= TAIL:
        rank += 1
    return (ordered[rank - 1], ordered[count - rank]) if rank else None


def _by_round(cells: Iterable[Cell], metric: Metric) -> dict[int, list[float]]:
    values: dict[int, list[float]] = {}
    for cell in cells:
        values.setdefault(cell.round, []).append(metric(cell))
    return values
