"""Rows A11 to A16: failing starts, deadly inputs, full queues, clients that leave, exhausted descriptors, zombies."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from deploy.chaos.faults import FAULTS, Extent
from deploy.chaos.traffic import plan
from deploy.load.plan import Kind, Plan, Stage
from deploy.load.process import Finished, sending
from deploy.load.report import statuses_text
from deploy.target import Target
from inference_core.settings import VARIABLE
from otel import processes
from tests import web
from tests.e2e.catalogue_bench import Bench, row, unless
from tests.e2e.outcome import Outcome
from tests.e2e.victim import DEADLINE_SECONDS, RATE, WORKERS, harmed, seconds_until
from tests.waiting import wait_for

FAILING_SECONDS, MOST_STARTS = 20.0, 10
MOST_LOST = 3
QUEUED, LEAVING = 200, 100
MOST_COMPUTED = 20
SPARE_DESCRIPTORS, OPENED = 10, 100
MOST_BUSY = 0.5
T = TypeVar("T")


@row("A11", "a worker that cannot start any more", destructive=True)
def failing_start(bench: Bench) -> Outcome:
    """Retry ever less often, say why, and leave everybody else alone."""
    target = bench.victim.target()
    file = Path(target.trial.environment[VARIABLE])
    good = file.read_text()
    log = target.trial.run_folder / "logs" / "inference-0.log"
    before = log.stat().st_size
    file.write_text(f"{good}[nonsense]\n")
    try:
        with sending(plan(target.trial.port, RATE, 1, DEADLINE_SECONDS)) as running:
            os.kill(target.workers()[0], signal.SIGKILL)
            time.sleep(FAILING_SECONDS)
            records = running.stop().records
        status = target.trial.control("status", "inference:inference-0")
    finally:
        file.write_text(good)
        target.trial.control("start", "inference:inference-0")
    said = log.read_bytes()[before:].count(b'"cannot start"')
    failed = records.where(~records.expected)
    wrong = unless(0 < said <= MOST_STARTS, f"{said} starts") + unless("RUNNING" not in status, f"status {status}")
    wrong += unless(not len(failed), f"failures {statuses_text(failed.statuses())}")
    happened = f"{said} starts in {FAILING_SECONDS:g} s, the reason in the log, then {status.split()[1]}"
    return Outcome(f"{happened}; {len(records)} requests to the others, {len(failed)} failed", "", wrong)


@row("A12", "1 % of the requests kill the worker that computes them", destructive=True)
def query_of_death(bench: Bench) -> Outcome:
    """Each is answered 500, few workers are lost, and nobody else notices."""
    pids: set[int] = set()

    def send(target: Target, extent: Extent) -> Finished | None:
        pids.update(target.workers())
        with _sampling(lambda: pids.update(target.workers())):
            return FAULTS["marked-input"].inject(target, extent)

    _, outcome = harmed(bench.victim, send)
    lost = len(pids) - WORKERS
    wrong = unless(lost <= MOST_LOST, f"{lost} workers lost")
    return Outcome(outcome.happened, f"{lost} workers lost; {outcome.figure}", outcome.wrong + wrong)


@contextlib.contextmanager
def _sampling(look: Callable[[], None]) -> Iterator[None]:
    over = False

    def run() -> None:
        while not over:
            look()
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as thread:
        sampler = thread.submit(run)
        try:
            yield
        finally:
            over = True
            sampler.result()


@row("A13", f"SIGTERM a worker while {QUEUED} requests wait", destructive=True)
def full_queue(bench: Bench) -> Outcome:
    """All of them are answered, by this worker or another, and it leaves in time."""
    target = bench.victim.target()
    kind = Kind("v1-mock", json.dumps({"features": [1.0, 2.0], "model_name": "v1-mock"}))
    burst = Plan(
        "127.0.0.1",
        target.trial.port,
        (kind,),
        (Stage(QUEUED / 0.05, 0.05),),
        arrivals="fixed",
        connections=QUEUED,
        most_connections=QUEUED,
    )
    worker = target.workers()[0]
    with sending(burst) as running:
        os.kill(worker, signal.SIGTERM)
        records = running.finish().records
    left = seconds_until(lambda: not processes.is_alive(worker), 20)
    wrong = unless(bool(records.expected.all()), "some were not answered") + unless(left < 10, "it stayed")
    return Outcome(
        statuses_text(records.statuses()),
        f"worst {records.latency.max() * 1000:.0f} ms, left {left:.1f} s later",
        wrong,
    )


@row("A14", f"{LEAVING} clients leave after their request's head, {LEAVING} after the whole of it", destructive=True)
def leaving_clients(bench: Bench) -> Outcome:
    """Compute nothing that nobody waits for any more, and keep no descriptor."""
    target = bench.victim.target()
    gateways = [psutil.Process(child) for pid in target.gateways() for child in processes.children(pid)]
    url = f"{target.trial.url}/predict"
    with ThreadPoolExecutor(WORKERS) as threads:
        blocking = [threads.submit(_ask, url, 1.5, 1400 + number) for number in range(WORKERS)]
        wait_for(lambda: {1400 + n for n in range(WORKERS)} <= set(bench.victim.computed()), "blocked workers")
        before = sum(gateway.num_fds() for gateway in gateways)
        for number in range(LEAVING):
            for cut in (True, False):
                _leave(target.trial.port, 1500 + number, before_the_body=cut)
        blocked = [answer.result() for answer in blocking]
    took = seconds_until(lambda: sum(gateway.num_fds() for gateway in gateways) <= before + 2, 10)
    free = _ask(url, 0.0, 1499)
    computed = len({1500 + number for number in range(LEAVING)} & set(bench.victim.computed()))
    wrong = unless(computed <= MOST_COMPUTED, f"{computed} of {LEAVING} were computed for nobody")
    wrong += unless({*blocked, free} == {200}, f"others got {blocked} and {free}") + unless(
        took < 10, "descriptors left"
    )
    return Outcome(f"{computed} of {LEAVING} computed; others 200", f"descriptors back after {took:.1f} s", wrong)


def _ask(url: str, seconds: float, number: int) -> int:
    body = {"features": [seconds, float(number)], "model_name": "patient"}
    return web.post(url, json=body, timeout=30).status_code


def _leave(port: int, number: int, *, before_the_body: bool) -> None:
    body = json.dumps({"features": [0.01, float(number)], "model_name": "patient"}).encode()
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head.encode() + b"\r\n\r\n" + (b"" if before_the_body else body))


@row("A15", f"gateways with {SPARE_DESCRIPTORS} file descriptors to spare, {OPENED} connections", destructive=True)
def exhausted_descriptors(bench: Bench) -> Outcome:
    """Serve connected clients, burn no processor, and take new clients when there is room again."""
    target = bench.victim.target()
    gateways = [psutil.Process(child) for pid in target.gateways() for child in processes.children(pid)]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(web.client(base_url=target.trial.url, timeout=10))
        assert client.get("/health").is_success
        for gateway in gateways:
            stack.callback(gateway.rlimit, resource.RLIMIT_NOFILE, gateway.rlimit(resource.RLIMIT_NOFILE))
            _, most = gateway.rlimit(resource.RLIMIT_NOFILE)
            gateway.rlimit(resource.RLIMIT_NOFILE, (gateway.num_fds() + SPARE_DESCRIPTORS, most))
        with contextlib.ExitStack() as crowd:
            for _ in range(OPENED):
                crowd.enter_context(socket.create_connection(("127.0.0.1", target.trial.port), timeout=10))
            used = processes.processor_seconds(gateway.pid for gateway in gateways)
            statuses = [_spaced(lambda: client.get("/health").status_code) for _ in range(20)]
            busy = processes.processor_seconds(gateway.pid for gateway in gateways) - used
    took = seconds_until(lambda: _answers(target), 20)
    wrong = unless(set(statuses) == {200}, f"the connected client got {statuses}")
    wrong += unless(busy < MOST_BUSY * 2, f"{busy:.1f} s of processor time in 2 s") + unless(took < 5, f"{took:.1f} s")
    return Outcome(
        "the connected client 200; new ones afterwards", f"{busy:.2f} s CPU in 2 s, room after {took:.1f} s", wrong
    )


def _spaced(ask: Callable[[], T]) -> T:
    time.sleep(0.1)
    return ask()


def _answers(target: Target) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return web.get(f"{target.trial.url}/health", timeout=1).is_success
    return False


@row("A16", "SIGKILL a worker and a gateway's serving process below its arbiter", destructive=True)
def zombies(bench: Bench) -> Outcome:
    """Both are replaced, and no zombie stays."""
    target = bench.victim.target()
    serving = processes.children(target.gateways()[0])[0]
    worker = target.workers()[0]
    for pid in (serving, worker):
        os.kill(pid, signal.SIGKILL)
    took = seconds_until(lambda: not psutil.pid_exists(serving) and not psutil.pid_exists(worker), 20)
    bench.victim.target()
    everyone = processes.tree(processes.supervisord_of(target.trial.run_folder))
    dead = [pid for pid in everyone if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE]
    wrong = unless(not dead, f"{len(dead)} zombies") + unless(took < 20, "a dead process stayed")
    return Outcome("both replaced", f"{len(dead)} zombies, reaped after {took:.1f} s", wrong)
