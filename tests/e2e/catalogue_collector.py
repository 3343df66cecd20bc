"""Row H10: a collector that is not there, that is slow, and that is stopped."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from deploy.trial import Trial, trial
from inference_core.settings import VARIABLE, load
from tests import web
from tests.e2e.catalogue_bench import Bench, row, unless
from tests.e2e.outcome import Outcome
from tests.otel.collector import Collector
from tests.waiting import wait_for

ROUNDS, ROUND_SECONDS = 5, 3.0
SLOW_SECONDS, MOST_SLOWER = 1.0, 0.001
MOST_STOP_SECONDS = {"gateway:gateway-0": 15.0, "inference:inference-0": 15.0}
"""Both well below their stopwaitsecs, 25 and 20."""

BODY = json.dumps({"prompt": "What a wonderful day"})
HEADERS = {"Content-Type": "application/json"}
NOT_TAKEN, TAKEN = ("dropped", "lost"), ("exported",)
TAKEN_SECONDS = 60.0
"""gRPC waits longer and longer before it connects again to what had refused it."""

WELL, REFUSED, SLOW, STOPPED = "well", "refused", f"{SLOW_SECONDS:.0f} s slow", "stopped (SIGSTOP)"
TAKES_NONE = (REFUSED, STOPPED)
State = Callable[[Trial], AbstractContextManager[None]]


@contextlib.contextmanager
def _well(system: Trial) -> Iterator[None]:
    _wait_until_taken(system)
    yield


@contextlib.contextmanager
def _refused(system: Trial) -> Iterator[None]:
    system.control("stop", "tracestore")
    try:
        yield
    finally:
        system.control("start", "tracestore")
        wait_for(lambda: "RUNNING" in system.control("status", "tracestore"), "the trace store", TAKEN_SECONDS)


@contextlib.contextmanager
def _slow(system: Trial) -> Iterator[None]:
    with _refused(system):
        collector = Collector(load(Path(system.environment[VARIABLE])).tracestore.port, SLOW_SECONDS)
        try:
            _wait_until_taken(system)
            yield
        finally:
            collector.close()


@contextlib.contextmanager
def _stopped(system: Trial) -> Iterator[None]:
    _wait_until_taken(system)
    (store,) = system.pids("tracestore")
    os.kill(store, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(store, signal.SIGCONT)


FAULTS: dict[str, State] = {REFUSED: _refused, SLOW: _slow, STOPPED: _stopped}


@row("H10", f"the trace store {', '.join(FAULTS)}, beside one that is well", destructive=True)
def collectors(_: Bench) -> Outcome:
    """Nobody notices; spans that nobody takes are counted, and a stop takes no longer for them.

    At the rate of traces that is the default; with every request traced the store itself takes a processor's time.
    """
    with trial({}) as system:
        _p99(system)
        rounds = [_round(system) for _ in range(ROUNDS)]
        with _stopped(system):
            _p99(system, traced=True)
            stops = {program: _restart_seconds(system, program) for program in MOST_STOP_SECONDS}
    slower = {name: statistics.median(one[name][0] - one[WELL][0] for one in rounds) for name in FAULTS}
    lost = {name: sum(one[name][1] for one in rounds) for name in FAULTS}
    wrong = unless(max(slower.values()) < MOST_SLOWER, f"slower by {slower}")
    wrong += unless(all(lost[name] > 0 for name in TAKES_NONE), f"spans counted: {lost}")
    wrong += unless(all(stops[name] < most for name, most in MOST_STOP_SECONDS.items()), f"stops took {stops}")
    told = ", ".join(f"{name}: p99 {slower[name] * 1000:+.2f} ms, {lost[name]:.0f} spans counted" for name in FAULTS)
    well = statistics.median(one[WELL][0] for one in rounds) * 1000
    restarts = ", ".join(f"{name.partition(':')[2]} {seconds:.1f} s" for name, seconds in stops.items())
    return Outcome(
        f"every request 200; {told}", f"p99 {well:.2f} ms when well; restarts while stopped: {restarts}", wrong
    )


def _round(system: Trial) -> dict[str, tuple[float, float]]:
    return {name: _measured(system, state, name) for name, state in {WELL: _well, **FAULTS}.items()}


def _measured(system: Trial, state: State, name: str) -> tuple[float, float]:
    with state(system):
        before = _spans(system, NOT_TAKEN)
        seconds = _p99(system)
        if name in TAKES_NONE:
            wait_for(lambda: _spans(system, NOT_TAKEN) > before, f"counting what was not taken, {name}", 20)
        return seconds, _spans(system, NOT_TAKEN) - before


def _p99(system: Trial, lasting: float = ROUND_SECONDS, *, traced: bool = False) -> float:
    """Ask for that many seconds, by default for several exports; every request must succeed."""
    headers = {**HEADERS, "traceparent": f"00-{secrets.token_hex(16)}-b7ad6b7169203331-01"} if traced else HEADERS
    seconds = []
    connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=10)
    over = time.monotonic() + lasting
    while time.monotonic() < over:
        began = time.perf_counter()
        connection.request("POST", "/predict", BODY, headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == http.client.OK, answer.status
        seconds.append(time.perf_counter() - began)
    connection.close()
    return statistics.quantiles(seconds, n=100)[98]


def _wait_until_taken(system: Trial) -> None:
    before = _spans(system, TAKEN)
    wait_for(lambda: _p99(system, 0.1) and _spans(system, TAKEN) > before, "spans that are taken", TAKEN_SECONDS)


def _spans(system: Trial, outcomes: tuple[str, ...]) -> float:
    page = web.get(f"{system.url}/metrics").raise_for_status().text
    lines = [line for line in page.splitlines() if "_spans_total{" in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines for word in outcomes if f'outcome="{word}"' in line)


def _restart_seconds(system: Trial, program: str) -> float:
    began = time.monotonic()
    system.control("stop", program)
    took = time.monotonic() - began
    system.control("start", program)
    return took
