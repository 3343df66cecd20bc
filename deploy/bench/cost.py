"""The verb `cost`: our own system with and without what observes it, side by side in one run."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.bench import machine, wrk
from deploy.bench.contenders import Contender, ours
from deploy.bench.environments import cache_folder
from deploy.bench.peers.work import FEATURES
from deploy.bench.protocols import Predict
from deploy.bench.results import Cell, Run, figures, interval, quotients, ratio, write
from deploy.bench.rounds import Measured, Plan, run_of, side_by_side
from deploy.table import table

NO_TRACING: Mapping[str, Any] = {"otlp_endpoint": ""}
NO_METRICS: Mapping[str, Any] = {"metrics": False}
NO_LOGS: Mapping[str, Any] = {"log_level": "off"}
ALL_TRACED: Mapping[str, Any] = {"sample_ratio": 1.0}

NOTHING, INSTALLED = "nothing", "installed"
SYSTEMS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    NOTHING: ("nothing", {**NO_TRACING, **NO_METRICS, **NO_LOGS}),
    "tracing": ("tracing, as installed", {**NO_METRICS, **NO_LOGS}),
    "all-traced": ("tracing, of every request", {**NO_METRICS, **NO_LOGS, **ALL_TRACED}),
    "metrics": ("metrics", {**NO_TRACING, **NO_LOGS}),
    "logs": ("logs", {**NO_TRACING, **NO_METRICS}),
    INSTALLED: ("everything, as installed", {}),
    "everything": ("everything, and every request traced", ALL_TRACED),
}
"""What is on, and the keys of [telemetry] that make it so."""

LEAST_SHARE = 0.9
ROUNDS, QUICK_ROUNDS, SHORTER = 60, 10, 3
HEAD = ("on", "req/s", "p50, p99 ms", "CPU ms", "errors", "req/s x", "between", "CPU x")


def cost(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Return 0, or 1 when a system did not run, errors were counted or, with --check, the installed one is too slow."""
    wrk.check_installed()
    revision = machine.revision()  # before the run: files may change meanwhile
    plan = plan_of(arguments)
    run = run_of(plan, dict.fromkeys(SYSTEMS, f"commit {revision}"), _measured(plan, say))
    page = text(run, arguments.connections)
    folder: Path = arguments.output or cache_folder() / "results"
    say(f"\n{page}\nWritten: {write(folder, 'cost', run, page)}, with .json beside it.")
    is_broken = arguments.check and not share_of(run, INSTALLED) >= LEAST_SHARE
    return 1 if run.failures or any(cell.errors for cell in run.cells) or is_broken else 0


def _measured(plan: Plan, say: Callable[[str], None]) -> Measured:
    """Measure each system beside the one with nothing on; the installed one longest."""
    nothing, *others = plan.contenders
    measured = Measured()
    for number, contender in enumerate(others):
        rounds = plan.rounds if contender.key == INSTALLED else _fewer(plan.rounds)
        pair = replace(plan, contenders=(nothing, contender), rounds=rounds)
        measured.cells += side_by_side(pair, say, 1 + number * plan.rounds).cells
    return measured


def _fewer(rounds: int) -> int:
    return math.ceil(rounds / SHORTER)


def text(run: Run, connections: int) -> str:
    """Return the page: the machine, the table, the verdict."""
    host = run.machine
    versions = ", ".join(sorted(set(run.versions.values())))
    facts = (
        f"{run.date}, {versions}, {host.cores} cores of {host.processor}, Linux {host.kernel}: work {run.works()[0]}, "
        f"{connections} connections, each system in turn with the one that has nothing on, both warm, {run.seconds} s "
        f"each; medians of {run.rounds} rounds for the installed one, {_fewer(run.rounds)} for others. CPU is that of "
        "the whole process tree for each request; x is against nothing, round by round, and lies between the two "
        "numbers with a probability of 95 %.\n"
    )
    lines = ["# The cost of observing\n", facts, table(HEAD, list(_rows(run))), f"- {verdict(run)}\n"]
    lines += [f"- left out: {failure}\n" for failure in run.failures]
    return "\n".join(lines)


def verdict(run: Run) -> str:
    """Return whether the installed system is quick enough, as a sentence with the figure."""
    share = share_of(run, INSTALLED)
    word = "holds" if share >= LEAST_SHARE else "**does not hold**"
    return f"{word}: everything as installed answers at least {LEAST_SHARE:.0%} of what nothing on does: {share:.1%}"


def share_of(run: Run, key: str) -> float:
    """Return the median over the rounds of a system's rate divided by that of NOTHING in the same round, or NaN."""
    return _times(run, key, _rate)


def _rate(cell: Cell) -> float:
    return cell.requests_per_second


def _times(run: Run, key: str, metric: Callable[[Cell], float]) -> float:
    work = run.works()[0]
    return ratio(run.select(work, key), run.select(work, NOTHING), metric, max)


def _between(run: Run, key: str) -> str:
    work = run.works()[0]
    found = quotients(run.select(work, key), run.select(work, NOTHING), _rate, max)
    return ", ".join(f"{bound:.3f}" for bound in interval(found) or ())


def _rows(run: Run) -> Iterator[Sequence[str]]:
    for key in run.contenders(run.works()[0]):
        found = figures(run.select(run.works()[0], key))
        yield (
            run.labels[key],
            f"{found.requests_per_second:,.0f}",
            f"{found.p50:.2f}, {found.p99:.1f}",
            f"{found.cpu:.3f}",
            str(found.errors),
            f"{share_of(run, key):.3f}",
            _between(run, key),
            f"{_times(run, key, lambda cell: cell.cpu):.3f}",
        )


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return the plan that the command line asks for; --quick is fewer rounds unless they are given."""
    return Plan(
        contenders=[Contender(key, label, "", Predict(), ours(keys)) for key, (label, keys) in SYSTEMS.items()],
        works=[arguments.work],
        connections=[arguments.connections],
        rounds=arguments.rounds or (QUICK_ROUNDS if arguments.quick else ROUNDS),
        seconds=arguments.seconds,
        lock=arguments.lock,
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--work", choices=list(FEATURES), default="tiny", help="which model (default: tiny)")
    parser.add_argument("--connections", type=int, default=128, help="of the load (default: 128)")
    parser.add_argument("--rounds", type=int, help=f"how often each system is loaded (default: {ROUNDS})")
    parser.add_argument("--seconds", type=int, default=1, help="of load for each figure (default: 1)")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds")
    parser.add_argument("--check", action="store_true", help="fail where the installed one is too slow")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to write (default: the user's cache)")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="hold this file's lock while a system is measured")
