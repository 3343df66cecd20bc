"""The verb `soak`: our system under steady load for minutes, and whether memory or latency grows.

The load is wrk that sends at a fixed rate over many connections. It is open-loop as long as a connection is free; its
latency counts from the sending, so a wait for a free connection is not in it, but a rate below the wanted one tells.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import msgspec

from deploy.bench import machine, wrk
from deploy.bench.contenders import CONTENDERS
from deploy.bench.environments import cache_folder
from deploy.bench.meter import Meter
from deploy.bench.peers.work import FEATURES
from deploy.bench.results import write
from deploy.bench.servers import Server, running

WARM_UP_SECONDS, CAPACITY_SECONDS = 5, 10
MEMORY_GROWTH, LATENCY_GROWTH = 0.05, 0.30  # shares over the whole soak; 30 % is this kind of machine's noise
FEWEST_MINUTES = 4
RATE_SHARE = 0.97  # of the wanted rate, below which the load was not what it is said to be


class Minute(msgspec.Struct, frozen=True):
    """One minute: good answers per second, milliseconds, errors, and MiB (PSS, RSS) at its end, PSS by program.

    `foreign` is the share of all cores (0..1) that neither the system nor the load generator used.
    """

    requests_per_second: float
    p50: float
    p99: float
    errors: int
    pss: float
    rss: float
    programs: Mapping[str, float]
    foreign: float = 0.0


class Soak(msgspec.Struct, frozen=True):
    """A whole soak; `capacity` and `rate` in requests per second."""

    date: str
    revision: str
    machine: machine.Machine
    work: str
    connections: int
    capacity: float
    rate: float
    minutes: Sequence[Minute]


def soak(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Return 0, or 1 when something grew, an answer was an error or the rate was not reached."""
    wrk.check_installed()
    revision = machine.revision()  # before the run: files may change meanwhile
    say(f"Starting ours with the work {arguments.work} ...")
    with running(CONTENDERS[0], arguments.work, Path(sys.executable)) as server:
        wrk.run(server.url, server.bodies, arguments.connections, WARM_UP_SECONDS)
        load = wrk.run(server.url, server.bodies, arguments.connections, CAPACITY_SECONDS)
        capacity = load.requests_per_second
        rate = capacity * arguments.load
        say(f"Capacity at {arguments.connections} connections: {capacity:,.0f} req/s; load: {rate:,.0f} req/s.")
        minutes = list(_minutes(arguments, server, rate, say))
    result = Soak(
        date=time.strftime("%Y-%m-%d", time.gmtime()),
        revision=revision,
        machine=machine.describe(),
        work=arguments.work,
        connections=arguments.connections,
        capacity=capacity,
        rate=rate,
        minutes=minutes,
    )
    folder: Path = arguments.output or cache_folder() / "results"
    page, holds = markdown(result)
    say(f"\n{page}\nWritten: {write(folder, 'soak', result, page)}, with .json beside it.")
    return 0 if holds else 1


def _minutes(
    arguments: argparse.Namespace, server: Server, rate: float, say: Callable[[str], None]
) -> Iterator[Minute]:
    for number in range(1, arguments.minutes + 1):
        meter = Meter(server.tree)
        load = wrk.run(server.url, server.bodies, arguments.connections, arguments.minute_seconds, rate)
        memory = server.tree.memory()
        minute = Minute(
            requests_per_second=load.requests_per_second,
            p50=load.p50 / 1000,
            p99=load.p99 / 1000,
            errors=load.errors.total,
            pss=memory.pss,
            rss=memory.rss,
            programs=server.tree.memory_by_program(),
            foreign=meter.foreign(),
        )
        say(
            f"minute {number} of {arguments.minutes}: {minute.requests_per_second:,.0f} req/s, "
            f"p50 {minute.p50:.2f} ms, p99 {minute.p99:.1f} ms, PSS {minute.pss:.0f} MiB, errors {minute.errors}, "
            f"others {minute.foreign:.0%}"
        )
        yield minute


def growth(values: Sequence[float]) -> float:
    """Return how much a row of values grew from its first to its last, as a share of its median.

    By the median of the slopes between all pairs (Theil and Sen), so that single outliers do not matter.
    """
    slopes = [(later - earlier) / (j - i) for (i, earlier), (j, later) in combinations(enumerate(values), 2)]
    middle = statistics.median(values)
    return statistics.median(slopes) * (len(values) - 1) / middle if slopes and middle else 0.0


def judge(result: Soak) -> Iterator[tuple[bool, str]]:
    """Yield each verdict with its figure; the first minute still fills pools and caches, so growth counts from the 2nd.

    With fewer than four minutes growth is not judged.
    """
    minutes = result.minutes
    errors = sum(minute.errors for minute in minutes)
    yield errors == 0, f"errors: {errors}"
    slowest = min(minute.requests_per_second for minute in minutes)
    yield slowest >= RATE_SHARE * result.rate, f"the rate was kept: {slowest:,.0f} of {result.rate:,.0f} req/s"
    if len(minutes) < FEWEST_MINUTES:
        yield True, f"growth is not judged below {FEWEST_MINUTES} minutes"
        return
    rows = {
        "memory (PSS)": ([minute.pss for minute in minutes[1:]], MEMORY_GROWTH),
        "p50": ([minute.p50 for minute in minutes[1:]], LATENCY_GROWTH),
        "p99": ([minute.p99 for minute in minutes[1:]], LATENCY_GROWTH),
    }
    for name, (values, limit) in rows.items():
        grown = growth(values)
        yield grown <= limit, f"{name} grows by {grown:+.1%} (at most {limit:.0%})"


def markdown(result: Soak) -> tuple[str, bool]:
    """Return the page and whether all verdicts hold."""
    host = result.machine
    programs = sorted({name for minute in result.minutes for name in minute.programs})
    facts = (
        f"{result.date}, commit {result.revision}, {host.cores} cores of {host.processor}, Linux {host.kernel}: "
        f"work {result.work}, {result.connections} connections, {result.rate:,.0f} req/s of a capacity of "
        f"{result.capacity:,.0f}. Others: the share of all cores that other programs took."
    )
    lines = [
        "# Soak",
        "",
        facts,
        "",
        f"| minute | req/s | p50 ms | p99 ms | errors | others | PSS (RSS) MiB | {' | '.join(programs)} |",
        "|---" * (7 + len(programs)) + "|",
    ]
    for number, minute in enumerate(result.minutes, 1):
        held = " | ".join(f"{minute.programs.get(name, 0.0):.1f}" for name in programs)
        lines.append(
            f"| {number} | {minute.requests_per_second:,.0f} | {minute.p50:.2f} | {minute.p99:.1f} | {minute.errors} "
            f"| {minute.foreign:.0%} | {minute.pss:.1f} ({minute.rss:.1f}) | {held} |"
        )
    verdicts = list(judge(result))
    lines += ["", *(f"- {'holds' if holds else '**does not hold**'}: {said}" for holds, said in verdicts)]
    return "\n".join(lines) + "\n", all(holds for holds, _ in verdicts)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--minutes", type=int, default=10, help="how long (default: 10)")
    parser.add_argument("--load", type=float, default=0.8, help="share of the measured capacity (default: 0.8)")
    parser.add_argument("--work", choices=list(FEATURES), default="tiny", help="which model (default: tiny)")
    parser.add_argument("--connections", type=int, default=128, help="of the load (default: 128)")
    parser.add_argument("--minute-seconds", type=int, default=60, help="length of a minute, for trying it out")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to write (default: the user's cache)")
