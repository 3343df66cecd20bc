"""What InferenceHub promises of itself against its peers, and whether a run bears it out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deploy.bench.contenders import OURS
from deploy.bench.results import Cell, Run, figures, ratio

Best = Callable[[list[float]], float]


@dataclass(frozen=True)
class Floor:
    """At that many connections, our figure is to be at least (or at most) `limit` times the peers' best."""

    connections: int
    peers: tuple[str, ...]
    name: str
    limit: float
    is_latency: bool = False


TRITON = ("triton-1", "triton-2")
SLOW_PEERS = ("litserve-1", "litserve-2", "mlserver", "mlserver-64")
FLOORS = (
    Floor(128, TRITON, "Triton's best", 1.0),
    Floor(128, ("fastapi-2",), "FastAPI with 2 processes", 1.4),
    Floor(32, TRITON, "Triton's best", 0.85),
    Floor(1, TRITON, "Triton's best", 2.5, is_latency=True),
    Floor(32, SLOW_PEERS, "the best of LitServe and MLServer", 8.0),
    Floor(128, SLOW_PEERS, "the best of LitServe and MLServer", 8.0),
)


@dataclass(frozen=True)
class Verdict:
    """One promise held against one run; `sentence` has the figure."""

    holds: bool
    sentence: str


def verdicts(run: Run) -> Iterator[Verdict]:
    """Yield what can be judged from this run: a promise needs both sides in it."""
    for work in run.works():
        for floor in FLOORS:
            ours = run.select(work, OURS, floor.connections)
            theirs = [cell for peer in floor.peers for cell in run.select(work, peer, floor.connections)]
            if ours and theirs:
                yield _judge(work, floor, ours, theirs)
        yield from _falling_cpu(run, work)


def _judge(work: str, floor: Floor, ours: Sequence[Cell], theirs: Sequence[Cell]) -> Verdict:
    if floor.is_latency:
        quotient = ratio(ours, theirs, lambda cell: cell.p50, min)
        holds, what = quotient <= floor.limit, f"p50 at most {floor.limit} x"
    else:
        quotient = ratio(ours, theirs, lambda cell: cell.requests_per_second, max)
        holds, what = quotient >= floor.limit, f"req/s at least {floor.limit} x"
    return Verdict(holds, f"{work} at {floor.connections}: {what} {floor.name}: {quotient:.2f}")


def _falling_cpu(run: Run, work: str) -> Iterator[Verdict]:
    cells = [run.select(work, OURS, connections) for connections in run.connections()]
    costs = [figures(some).cpu for some in cells if some]
    if len(costs) > 1:
        holds = all(later < earlier for earlier, later in pairwise(costs))
        said = ", ".join(f"{cost:.3f}" for cost in costs)
        yield Verdict(holds, f"{work}: CPU per request falls with the connections: {said} ms")
