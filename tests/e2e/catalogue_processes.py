"""Rows A01 to A10: processes that die, stop, hang or are restarted, under load."""

from __future__ import annotations

import dataclasses
import http.client
import os
import signal
import statistics
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx

from deploy.chaos.faults import FAULTS, Absent, Extent
from deploy.chaos.verdict import RECOVERY_SECONDS
from deploy.chaos.verdict import Outcome as Judged
from deploy.target import Target, signal_if_there
from otel import processes
from tests import web
from tests.e2e.catalogue_bench import Bench, row, unless
from tests.e2e.outcome import Outcome
from tests.e2e.victim import DEADLINE_SECONDS, WORKERS, harmed, seconds_until
from tests.waiting import wait_for

FREEZE_SECONDS, NOTICE_SECONDS = 10, 2.0
SILENT_SECONDS = 4.0
"""Three probes that are not answered, and the one that was when it happened (settings, [controller])."""
CLIENTS, ASKED = 6, 600
FAIR_SHARE = 1 / WORKERS


@row("A01", "SIGKILL one of three workers", destructive=True)
def killed(bench: Bench) -> Outcome:
    """Nobody notices, and the slot serves again."""

    def kill(target: Target, _: Extent) -> None:
        os.kill(target.workers()[0], signal.SIGKILL)

    return harmed(bench.victim, kill)[1]


@row("A02", "SIGKILL a worker of chance every second", destructive=True)
def killed_again(bench: Bench) -> Outcome:
    """Nobody notices while one is left, and no slot is given up."""
    _, outcome = harmed(bench.victim, FAULTS["kill-workers"].inject)
    status = bench.victim.target().trial.control("status", "inference:*")
    return _also(outcome, unless("FATAL" not in status, "a slot is FATAL"))


@row("A03", "SIGKILL all workers at once", destructive=True)
def all_killed(bench: Bench) -> Outcome:
    """Let requests wait, say 200 on /health and 503 on /ready, and come back alone."""
    seen: list[tuple[int, int]] = []

    def kill(target: Target, extent: Extent) -> None:
        FAULTS["kill-all-workers"].inject(target, extent)
        seen.append((_status(target, "/health"), _status(target, "/ready")))

    _, outcome = harmed(bench.victim, kill)
    return _also(outcome, unless(seen == [(200, 503)], f"/health and /ready said {seen}"))


def _status(target: Target, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", target.trial.port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@row("A04", "SIGSTOP a worker, and leave it so", destructive=True)
def stopped(bench: Bench) -> Outcome:
    """Nobody notices, and the controller replaces it."""
    stopped: list[tuple[int, float]] = []

    def stop(target: Target, _: Extent) -> None:
        worker = target.workers()[0]
        stopped.append((worker, processes.started(worker)))
        os.kill(worker, signal.SIGSTOP)

    try:
        return _replaced(*harmed(bench.victim, stop))
    finally:
        for worker, since in stopped:
            signal_if_there(worker, signal.SIGCONT, since)


@row("A05", f"a worker whose event loop stands for {FREEZE_SECONDS} s while its pings are answered", destructive=True)
def frozen(bench: Bench) -> Outcome:
    """Everybody else is answered, and the worker is noticed within 2 s."""
    worst: list[float] = []

    def freeze(target: Target, _: Extent) -> None:
        url = f"{target.trial.url}/predict"
        body = {"features": [float(FREEZE_SECONDS)], "model_name": "frozen"}
        with ThreadPoolExecutor(WORKERS * 2) as threads:
            asked = [threads.submit(httpx.post, url, json=body, timeout=30) for _ in range(WORKERS * 2)]
            began = time.monotonic()
            for answer in asked:
                answer.result()
            worst.append(time.monotonic() - began)

    judged, outcome = harmed(bench.victim, freeze)
    outcome = _replaced(judged, outcome)
    late = unless(worst[0] < DEADLINE_SECONDS + 0.5, f"the freezing requests took {worst[0]:.1f} s")
    late += unless(judged.worst < NOTICE_SECONDS, f"others waited {judged.worst:.1f} s")
    return _also(outcome, late)


@row("A06", "one of three workers twenty times slower than the others", destructive=True)
def slower(bench: Bench) -> Outcome:
    """Its share of the work falls to half of a fair one at most."""
    target = bench.victim.target()
    body = {"features": [1.0], "model_name": "uneven"}

    def ask(count: int) -> list[tuple[int, int, float]]:
        answers = []
        with web.client(base_url=target.trial.url, timeout=30) as client:
            for _ in range(count):
                began = time.perf_counter()
                answer = client.post("/predict", json=body)
                answers.append((answer.status_code, answer.json().get("class_id", -1), time.perf_counter() - began))
        return answers

    with ThreadPoolExecutor(CLIENTS) as threads:
        answers = [answer for part in threads.map(ask, [ASKED // CLIENTS] * CLIENTS) for answer in part]
    statuses = Counter(status for status, _, _ in answers)
    share = sum(slot == 0 for _, slot, _ in answers) / len(answers)
    wrong = unless(set(statuses) == {200}, f"statuses {dict(statuses)}")
    wrong += unless(share <= FAIR_SHARE / 2, f"the slow worker got {share:.0%} of the work")
    p99 = statistics.quantiles((seconds for _, _, seconds in answers), n=100)[98]
    return Outcome(f"{len(answers)} requests; the slow worker got {share:.0%}", f"p99 {p99 * 1000:.0f} ms", wrong)


@row("A07", "SIGKILL one of two gateway members, arbiter and all", destructive=True)
def gateway_killed(bench: Bench) -> Outcome:
    """Only what was in flight there is lost."""
    return harmed(bench.victim, FAULTS["kill-gateway"].inject)[1]


@row("A08", "supervisorctl restart of each gateway member and each worker", destructive=True)
def restarted(bench: Bench) -> Outcome:
    """Nobody notices."""
    return harmed(bench.victim, FAULTS["restart-all"].inject)[1]


@row("A09", "SIGKILL supervisord, then `up`", destructive=True)
def supervisord_killed(bench: Bench) -> Outcome:
    """Everything ends with it, and the next start finds no second owner of anything."""
    target = bench.victim.target()
    trial = target.trial
    began = time.monotonic()
    os.kill(processes.supervisord_of(trial.run_folder), signal.SIGKILL)
    wait_for(lambda: not trial.processes(), "the end of every process", 40)
    ended = time.monotonic() - began
    started: subprocess.CompletedProcess[str] = trial.deploy("up")
    outage = time.monotonic() - began
    commands = Counter(tuple(processes.command(pid)) for pid in target.workers())
    wrong = unless(started.returncode == 0, started.stderr[-200:])
    wrong += unless(len(commands) == WORKERS and set(commands.values()) == {1}, f"workers: {commands}")
    happened = f"not offered: serving without supervisord; all gone after {ended:.1f} s, `up` found the slots free"
    return Outcome(happened, f"outage {outage:.1f} s, duplicates {sum(commands.values()) - len(commands)}", wrong)


@row("A10", "SIGKILL the controller; SIGSTOP the next one for 3 s", destructive=True)
def controller_killed(bench: Bench) -> Outcome:
    """Nobody notices."""

    def harm(target: Target, extent: Extent) -> None:
        killed = target.controller()
        FAULTS["kill-controller"].inject(target, extent)
        # The killed one is known until supervisord has looked at it.
        seconds_until(lambda: target.controller() not in {None, killed}, 10)
        controller = target.controller()
        if controller is None or controller == killed:
            raise Absent("the controller did not come back")
        os.kill(controller, signal.SIGSTOP)
        time.sleep(3)
        os.kill(controller, signal.SIGCONT)

    return harmed(bench.victim, harm)[1]


def _replaced(judged: Judged, outcome: Outcome) -> Outcome:
    # Nobody waits for such a worker, so the controller may take the time to be sure of it before it kills.
    allowed = SILENT_SECONDS + RECOVERY_SECONDS + judged.load
    wrong = unless(not judged.failed, f"{judged.failed} failed")
    wrong += unless(judged.recovery <= allowed, f"replaced after {judged.recovery:.1f} s, not {allowed:.1f}")
    return dataclasses.replace(outcome, wrong=wrong)


def _also(outcome: Outcome, wrong: tuple[str, ...]) -> Outcome:
    return dataclasses.replace(outcome, wrong=outcome.wrong + wrong)
