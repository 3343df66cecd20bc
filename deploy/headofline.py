"""`python -m deploy.headofline`: whether the quick requests of one model wait behind the slow ones of another."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from deploy.load.plan import Kind, Plan, Stage
from deploy.load.process import sending, sent
from deploy.load.records import Records, percentile
from deploy.load.report import statuses_text
from deploy.measurement import keep, measurement, tell
from deploy.overrides import FORM, merged, overrides
from deploy.table import milliseconds, table
from deploy.trial import Sections, trial

SLOW_MODEL_SECONDS = 0.5
WAITING = 200
PRESSING_RATE = 2 * WAITING / SLOW_MODEL_SECONDS
"""More slow requests per second than 200 clients could ever have answered, so that all of them always wait."""
PATIENCE_SECONDS = 60.0
GATHER_SECONDS = 2.0
PRESENT_SHARE = 0.95
MOST_TIMES_SLOWER = 2.0
DEADLINE_SECONDS = 30.0
HEAD = ("round", "alone p50, p99 ms", "beside p50, p99 ms", "p99 x", "slow ones waiting", "quick statuses")


@dataclass(frozen=True)
class Load:
    """Quick requests per second, for how many seconds in each half of a round, against which port."""

    port: int
    rate: float
    seconds: float


class Round(msgspec.Struct, frozen=True):
    """Percentiles of the quick requests in seconds, alone and beside the slow ones; failures count for ever."""

    alone: tuple[float, float]
    beside: tuple[float, float]
    waiting: float
    statuses: dict[str, int]

    @property
    def times_slower(self) -> float:
        """How many times the p99 is what it was alone."""
        return self.beside[1] / self.alone[1]


def main() -> int:
    """Measure; return 0 where the quick model keeps its p99, 1 where not, 130 after Ctrl-C."""
    arguments = _parser().parse_args()
    return measurement(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    rounds = _rounds(arguments)
    wrong = verdict(rounds)
    sys.stdout.write(table(HEAD, [_cells(str(number + 1), row) for number, row in enumerate(rounds)]))
    slower = statistics.median(row.times_slower for row in rounds)
    sys.stdout.write(f"p99 x {slower:.2f} beside {WAITING} slow requests (median of {len(rounds)} rounds)\n")
    sys.stdout.write("".join(f"Not as it must be: {sentence}.\n" for sentence in wrong))
    keep(arguments.json, rounds)
    return 1 if wrong else 0


def verdict(rounds: list[Round]) -> list[str]:
    """Return what must not be: too slow in the median, a failure, or fewer slow requests than were to wait."""
    slower = statistics.median(row.times_slower for row in rounds)
    wrong = (
        [f"p99 is {slower:.2f} times what it is alone, not {MOST_TIMES_SLOWER:g}"] if slower > MOST_TIMES_SLOWER else []
    )
    failed = sum(count for row in rounds for status, count in row.statuses.items() if status != "200")
    wrong += [f"{failed} quick requests failed"] if failed else []
    present = min(row.waiting for row in rounds)
    wrong += [f"only {present:.0f} slow requests waited"] if present < PRESENT_SHARE * WAITING else []
    return wrong


def _rounds(arguments: argparse.Namespace) -> list[Round]:
    base: Sections = {
        "gateway": {"deadline": DEADLINE_SECONDS},
        "inference": {"mock_latency": SLOW_MODEL_SECONDS},
        "telemetry": {"otlp_endpoint": ""},  # its spans would go to whatever the machine's user runs
    }
    rounds = []
    tell("Starting a system ...")
    with trial(merged(base, arguments.set)) as running:
        load = Load(running.port, arguments.rate, arguments.seconds)
        sent(_quick(load, 0))  # warms everything up
        for number in range(arguments.rounds):
            rounds.append(_round(load, number + 1))
            tell(f"... round {number + 1} of {arguments.rounds}: p99 x {rounds[-1].times_slower:.2f}")
    return rounds


def _round(load: Load, seed: int) -> Round:
    alone = sent(_quick(load, seed)).records
    with sending(_slow(load, seed)) as crowd:
        time.sleep(GATHER_SECONDS)
        beside = sent(_quick(load, seed)).records
        slow = crowd.abandon().records
    statuses = alone.statuses()
    for status, count in beside.statuses().items():
        statuses[status] = statuses.get(status, 0) + count
    return Round(_percentiles(alone), _percentiles(beside), in_flight(slow, beside), statuses)


def in_flight(slow: Records, beside: Records) -> float:
    """Return how many of the slow requests were unanswered, in the median over the times at which the others left."""
    moments = beside.due
    begun = np.searchsorted(np.sort(slow.sent[~np.isnan(slow.sent)]), moments)
    ended = np.searchsorted(np.sort(slow.ended[~np.isnan(slow.sent)]), moments)
    return float(np.median(begun - ended))


def _percentiles(records: Records) -> tuple[float, float]:
    return percentile(records.latency, 50), percentile(records.latency, 99)


def _quick(load: Load, seed: int) -> Plan:
    kind = Kind("sentiment", json.dumps({"prompt": "What a wonderful day"}))
    return Plan(
        "127.0.0.1", load.port, (kind,), (Stage(load.rate, load.seconds),), seed=seed, patience=DEADLINE_SECONDS
    )


def _slow(load: Load, seed: int) -> Plan:
    kind = Kind("v1-mock", json.dumps({"features": [0.5, 1.2, 3.4, 0.9], "model_name": "v1-mock"}))
    # With so many due and so few connections each of them always has a request: that many clients in a closed loop.
    stage = Stage(PRESSING_RATE, GATHER_SECONDS + load.seconds + PATIENCE_SECONDS)
    return Plan(
        "127.0.0.1",
        load.port,
        (kind,),
        (stage,),
        seed=seed,
        connections=WAITING,
        most_connections=WAITING,
        patience=PATIENCE_SECONDS,
    )


def _cells(name: str, row: Round) -> tuple[str, ...]:
    times = (", ".join(map(milliseconds, pair)) for pair in (row.alone, row.beside))
    return name, *times, f"{row.times_slower:.2f}", f"{row.waiting:.0f}", statuses_text(row.statuses)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.headofline",
        description=f"Start a private system and compare the p99 of sentiment alone with its p99 while {WAITING} "
        f"requests to v1-mock, which takes {SLOW_MODEL_SECONDS:g} s, wait.",
        epilog="Example: python -m deploy.headofline --rounds 5",
    )
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="of alone and beside; the median counts (default 5)")
    add("--rate", type=float, default=100.0, help="sentiment requests per second (default 100)")
    add("--seconds", type=float, default=20.0, help="of each half of a round (default 20)")
    add("--set", type=overrides, default={}, metavar=FORM, help="further settings of the system")
    add("--json", type=Path, metavar="FILE", help="write the rounds there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
