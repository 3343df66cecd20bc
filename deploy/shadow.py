"""`python -m deploy.shadow`: whether a shadow version makes the requests that it mirrors slower."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from deploy.load.plan import Kind, Plan, Stage
from deploy.load.process import sent
from deploy.load.records import percentile
from deploy.load.report import statuses_text
from deploy.measurement import keep, measurement, tell
from deploy.overrides import FORM, merged, overrides
from deploy.repositories import SAMPLES, repository
from deploy.table import milliseconds, table
from deploy.trial import Sections, Trial, trial
from inference_core.errors import ConfigurationError

MODEL = "shadowed"
SOURCE = """
import time

import numpy as np


class Model:
    def __init__(self, folder, parameters):
        self.seconds, self.spins = parameters["seconds"], parameters["spins"]

    def predict(self, inputs):
        rows = inputs["features"]
        until = time.monotonic() + self.seconds
        if not self.spins:
            time.sleep(self.seconds)
        while time.monotonic() < until:
            pass
        return {"class_id": np.zeros(len(rows), np.int32), "confidence": np.ones(len(rows), np.float32)}
"""
DESCRIPTION = """
runtime = "python"
max_batch_size = 1
parameters = {{seconds = {seconds}, spins = {spins}}}
inputs = [{{name = "features", datatype = "FP32", shape = [-1, 2]}}]
outputs = [
  {{name = "class_id", datatype = "INT32", shape = [-1]}},
  {{name = "confidence", datatype = "FP32", shape = [-1]}},
]
"""
BODY = json.dumps({"features": [1.0, 2.0], "model_name": MODEL})
MOST_TIMES_SLOWER = 1.1
CALIBRATION_SECONDS = 4.0
PRESSING = 3.0
HEAD = ("round", "without p50, p99 ms", "with p50, p99 ms", "p99 x", "statuses")


class Round(msgspec.Struct, frozen=True):
    """Percentiles in seconds without and with the shadow; `statuses` of both."""

    without: tuple[float, float]
    beside: tuple[float, float]
    statuses: dict[str, int]

    @property
    def times_slower(self) -> float:
        """How many times the p99 is what it is without the shadow."""
        return self.beside[1] / self.without[1]


class Result(msgspec.Struct, frozen=True):
    """The rounds, the rate at which they ran, and what became of the mirrored requests."""

    rate: float
    rounds: list[Round]
    mirrored: dict[str, int]


def main() -> int:
    """Measure; return 0 where the p99 stays within the bound, 1 where not, 130 after Ctrl-C."""
    arguments = _parser().parse_args()
    return measurement(lambda: _run(arguments))


def verdict(result: Result) -> list[str]:
    """Return what must not be: a slower p99 in the median, a failure, or no shadow that was compared."""
    slower = statistics.median(row.times_slower for row in result.rounds)
    wrong = [f"p99 is {slower:.2f} times what it is without"] if slower > MOST_TIMES_SLOWER else []
    failed = sum(count for row in result.rounds for status, count in row.statuses.items() if status != "200")
    wrong += [f"{failed} requests failed"] if failed else []
    return wrong if result.mirrored.get("agreed") else [*wrong, "no mirrored request was compared"]


def _run(arguments: argparse.Namespace) -> int:
    result = _measured(arguments)
    sys.stdout.write(table(HEAD, [_cells(str(number + 1), row) for number, row in enumerate(result.rounds)]))
    slower = statistics.median(row.times_slower for row in result.rounds)
    sys.stdout.write(
        f"p99 x {slower:.2f} (median of {len(result.rounds)} rounds) while {arguments.fraction:.0%} of "
        f"{result.rate:.0f} requests a second are mirrored: {statuses_text(result.mirrored)}\n"
    )
    wrong = verdict(result)
    sys.stdout.write("".join(f"Not as it must be: {sentence}.\n" for sentence in wrong))
    keep(arguments.json, result)
    return 1 if wrong else 0


def _measured(arguments: argparse.Namespace) -> Result:
    with repository(SAMPLES) as models:
        _add_model(models, arguments.model_seconds, spins=arguments.spin)
        base: Sections = {"inference": {"repository": str(models)}, "telemetry": {"otlp_endpoint": ""}}
        tell("Starting a system ...")
        with trial(merged(base, arguments.set)) as running:
            rate = arguments.load * _capacity(running, arguments.model_seconds)
            tell(f"... {rate:.0f} requests a second are {arguments.load:.0%} of what it can answer")
            rounds = [_round(running, rate, arguments, number) for number in range(arguments.rounds)]
            return Result(rate, rounds, _mirrored(running))


def _capacity(running: Trial, seconds: float) -> float:
    """Return how many requests are answered per second while more arrive than can be."""
    workers = 2
    stage = Stage(PRESSING * workers / seconds, CALIBRATION_SECONDS)
    plan = Plan("127.0.0.1", running.port, (Kind("pressing", BODY, expected=(200, 503, 504)),), (stage,))
    records = sent(plan).records
    answered = np.sort(records.ended[records.status == 200])  # noqa: PLR2004  # the HTTP status
    if not answered.size:
        raise ConfigurationError(f"Nothing was answered: {statuses_text(records.statuses())}.")
    first, last = np.percentile(answered, [20, 80])
    return float(0.6 * len(answered) / (last - first))


def _round(running: Trial, rate: float, arguments: argparse.Namespace, number: int) -> Round:
    halves: dict[bool, Any] = {}
    # Each goes first in every other round, so that what drifts harms both.
    for is_shadowed in (number % 2 == 0, number % 2 == 1):
        _set_shadow(running, arguments.fraction if is_shadowed else 0.0)
        stage = Stage(rate, arguments.seconds)
        plan = Plan("127.0.0.1", running.port, (Kind(MODEL, BODY),), (stage,), seed=number + 1)
        halves[is_shadowed] = sent(plan).records
    statuses: dict[str, int] = {}
    for records in halves.values():
        for status, count in records.statuses().items():
            statuses[status] = statuses.get(status, 0) + count
    found = Round(_percentiles(halves[False].latency), _percentiles(halves[True].latency), statuses)
    tell(f"... round {number + 1} of {arguments.rounds}: p99 x {found.times_slower:.2f}")
    return found


def _percentiles(latency: Any) -> tuple[float, float]:
    return percentile(latency, 50), percentile(latency, 99)


def _set_shadow(running: Trial, fraction: float) -> None:
    body = json.dumps({"split": {"1": 1}, "shadow": {"to": "2", "fraction": fraction}})
    connection = HTTPConnection("127.0.0.1", running.port, timeout=10)
    connection.request("PUT", f"/admin/traffic/{MODEL}", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    if answer.status != 200:  # noqa: PLR2004  # the HTTP status
        raise ConfigurationError(f"The rule was not taken: {answer.read().decode()}")
    connection.close()


def _mirrored(running: Trial) -> dict[str, int]:
    connection = HTTPConnection("127.0.0.1", running.port, timeout=10)
    connection.request("GET", "/metrics")
    counts: dict[str, int] = {}
    for line in connection.getresponse().read().decode().splitlines():
        if line.startswith("inferencehub_gateway_shadows_total{"):
            outcome = line.partition('outcome="')[2].partition('"')[0]
            counts[outcome] = counts.get(outcome, 0) + int(float(line.rpartition(" ")[2]))
    return counts


def _add_model(models: Path, seconds: float, *, spins: bool) -> None:
    for number in ("1", "2"):
        version = models / MODEL / number
        version.mkdir(parents=True)
        (version / "model.py").write_text(SOURCE)
    (models / MODEL / "model.toml").write_text(DESCRIPTION.format(seconds=seconds, spins=json.dumps(spins)))


def _cells(name: str, row: Round) -> tuple[str, ...]:
    times = (", ".join(map(milliseconds, pair)) for pair in (row.without, row.beside))
    return name, *times, f"{row.times_slower:.2f}", statuses_text(row.statuses)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.shadow",
        description="Start a private system, find out how many requests it can answer, and compare the p99 at a part "
        "of that load with and without a shadow, in turn.",
        epilog="Example: python -m deploy.shadow --rounds 6 --fraction 0.2",
    )
    add = parser.add_argument
    add("--rounds", type=int, default=6, help="of without and with; the median counts (default 6)")
    add("--seconds", type=float, default=8.0, help="of each half of a round (default 8)")
    add("--load", type=float, default=0.5, help="part of the capacity at which they run (default 0.5)")
    add("--fraction", type=float, default=0.1, help="of the requests is mirrored (default 0.1)")
    add("--model-seconds", type=float, default=0.01, help="that the model takes for a request (default 0.01)")
    add("--spin", action="store_true", help="the model computes all that time, instead of waiting for a device")
    add("--set", type=overrides, default={}, metavar=FORM, help="further settings of the system")
    add("--json", type=Path, metavar="FILE", help="write the rounds there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
