"""The measurement: every server once in each round, so that a change of the machine's mood hits all alike.

`measure` has one server at a time on the machine. `side_by_side` has all of them there, warm, and loads them in turn
for a second each: what differs by a few percent is lost in the mood's changes between longer turns.
"""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from deploy.bench import machine, wrk
from deploy.bench.contenders import OURS, Contender
from deploy.bench.environments import environment_of
from deploy.bench.meter import Meter
from deploy.bench.results import Cell, Run, Start
from deploy.bench.servers import Server, running
from inference_core.errors import ConfigurationError

WARM_UP_CONNECTIONS, WARM_UP_SECONDS = 32, 2
LONG_WARM_UP_SECONDS = 5
DISTURBED = 0.2  # share of all cores that others may take


@dataclass(frozen=True)
class Plan:
    """What is measured.

    `seconds` is the time of one cell, `repeats` how often a disturbed one is taken anew, `lock` a file that is held
    while a server is measured.
    """

    contenders: Sequence[Contender]
    works: Sequence[str]
    connections: Sequence[int]
    rounds: int
    seconds: int
    repeats: int = 2
    lock: Path | None = None


@dataclass
class Measured:
    """What came out so far."""

    cells: list[Cell] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


def measure(plan: Plan, say: Callable[[str], None]) -> Measured:
    """Measure the whole plan.

    A peer that cannot be installed, started or answered by is written down and left out from then on.
    Raises ConfigurationError when that happens to our own system.
    """
    measured = Measured()
    pythons = dict(_pythons(plan, measured, say))
    for number in range(1, plan.rounds + 1):
        for work in plan.works:
            # Every other round goes backwards, so that no server is always the one after the same neighbour.
            for contender in plan.contenders[:: 1 if number % 2 else -1]:
                if (work, contender.key) not in pythons:
                    continue
                say(f"round {number} of {plan.rounds}, {work}: {contender.label}")
                try:
                    with _turn(plan.lock), running(contender, work, pythons[work, contender.key]) as server:
                        _measure_server(plan, (work, contender.key, number), server, measured, say)
                except ConfigurationError as error:
                    _note(contender, error, measured, say)
                    del pythons[work, contender.key]
    return measured


def side_by_side(plan: Plan, say: Callable[[str], None], first: int = 1) -> Measured:
    """Measure our own systems, which differ in their settings, with the first of the plan's works and connections.

    Few at a time: each takes some percent of a core while it waits. Rounds are counted from `first`.
    Raises ConfigurationError where one of them does not start.
    """
    measured, python, work = Measured(), Path(sys.executable), plan.works[0]
    with _turn(plan.lock), ExitStack() as stack:
        servers: list[tuple[str, Server]] = []
        for contender in plan.contenders:
            say(f"starting: {contender.label}")
            servers.append((contender.key, stack.enter_context(running(contender, work, python))))
        for _, server in servers:
            wrk.run(server.url, server.bodies, plan.connections[0], LONG_WARM_UP_SECONDS)
        for number in range(first, first + plan.rounds):
            for key, server in servers[:: 1 if number % 2 else -1]:
                measured.cells.append(_measure_cell(plan, (work, key, number), server, plan.connections[0]))
            rates = {cell.contender: cell.requests_per_second for cell in measured.cells[-len(servers) :]}
            told = ", ".join(f"{key} {rates[key]:,.0f}" for key, _ in servers)
            say(f"round {number - first + 1} of {plan.rounds}, requests a second: {told}")
    return measured


def _pythons(plan: Plan, measured: Measured, say: Callable[[str], None]) -> Iterator[tuple[tuple[str, str], Path]]:
    for contender in plan.contenders:
        try:
            python = environment_of(contender.peer, say) if contender.peer else Path(sys.executable)
        except ConfigurationError as error:
            _note(contender, error, measured, say)
            continue
        for work in plan.works:
            yield (work, contender.key), python


def _note(contender: Contender, error: ConfigurationError, measured: Measured, say: Callable[[str], None]) -> None:
    if contender.key == OURS:
        raise error
    say(f"  left out: {error.message}")
    measured.failures.append(f"{contender.label}: {error.message.splitlines()[0]}")


def _measure_server(
    plan: Plan, place: tuple[str, str, int], server: Server, measured: Measured, say: Callable[[str], None]
) -> None:
    wrk.run(server.url, server.bodies, WARM_UP_CONNECTIONS, WARM_UP_SECONDS)
    for connections in plan.connections:
        cell = quietest(lambda: _measure_cell(plan, place, server, connections), plan.repeats)  # noqa: B023  # called here
        measured.cells.append(cell)
        say(
            f"  {connections:>4} connections: {cell.requests_per_second:>8,.0f} req/s, p50 {cell.p50:.2f} ms, "
            f"p99 {cell.p99:.1f} ms, CPU {cell.cpu:.3f} ms, errors {cell.errors}, others {cell.foreign:.0%}"
        )
    memory = server.tree.memory()
    measured.starts.append(Start(*place, cold_start=server.cold_start, pss=memory.pss, rss=memory.rss))


def _measure_cell(plan: Plan, place: tuple[str, str, int], server: Server, connections: int) -> Cell:
    meter = Meter(server.tree)
    load = wrk.run(server.url, server.bodies, connections, plan.seconds)
    return Cell(
        *place,
        connections=connections,
        requests_per_second=load.requests_per_second,
        p50=load.p50 / 1000,
        p99=load.p99 / 1000,
        cpu=meter.server() * 1000 / max(load.requests, 1),
        errors=load.errors.total,
        foreign=meter.foreign(),
    )


def run_of(plan: Plan, used: Mapping[str, str], measured: Measured) -> Run:
    """Return what was measured of a plan today, on this machine, with the versions that each contender used."""
    return Run(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        rounds=plan.rounds,
        seconds=plan.seconds,
        machine=machine.describe(),
        labels={contender.key: contender.label for contender in plan.contenders},
        versions=used,
        cells=measured.cells,
        starts=measured.starts,
        failures=measured.failures,
    )


def quietest(take: Callable[[], Cell], repeats: int) -> Cell:
    """Return the first cell that other programs left alone, or after that many repeats the least disturbed one.

    It is chosen by what others used, never by its own figures; its errors are those of all that were taken.
    """
    taken = [take()]
    while taken[-1].foreign > DISTURBED and len(taken) <= repeats:
        taken.append(take())
    chosen = min(taken, key=lambda cell: cell.foreign)
    return msgspec.structs.replace(chosen, errors=sum(cell.errors for cell in taken))


@contextmanager
def _turn(lock: Path | None) -> Iterator[None]:
    """Hold the lock file, so that several benchmarks on one machine take turns."""
    if lock is None:
        yield
        return
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
