"""The faults: what each one does to a system, and which failures it excuses."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from deploy.chaos.traffic import fatal_plan
from deploy.load.process import Finished, sent
from deploy.target import Target, signal_if_there
from otel import processes


@dataclass(frozen=True)
class Extent:
    """How long the faults last, in seconds, and the traffic beside which they happen, in requests per second."""

    rate: float
    seed: int
    deadline: float
    quiet: float = 5.0
    kills: float = 60.0
    stop: float = 5.0
    marked: float = 20.0


class Absent(Exception):
    """What the fault would hit is not part of this system."""


Inject = Callable[[Target, Extent], Finished | None]


@dataclass(frozen=True)
class Fault:
    """One fault; `inject` returns when the last blow has fallen, with the marked requests if it sent any."""

    name: str
    done: str
    inject: Inject


FAULTS: dict[str, Fault] = {}
"""Every fault by its name, in the order in which they are done."""


def fault(name: str, done: str) -> Callable[[Inject], Inject]:
    """Register a function as a fault."""

    def register(inject: Inject) -> Inject:
        FAULTS[name] = Fault(name, done, inject)
        return inject

    return register


@fault("none", "nothing, for comparison")
def nothing(_: Target, extent: Extent) -> None:
    """Only wait."""
    time.sleep(extent.quiet)


@fault("kill-workers", "SIGKILL a worker of chance every second")
def kill_workers(target: Target, extent: Extent) -> None:
    """Kill one of the workers that are there, again and again."""
    over = time.monotonic() + extent.kills
    while time.monotonic() < over:
        time.sleep(1.0)  # before each kill: recovery counts from the return of this function
        there = target.workers()
        if there:
            os.kill(target.chance.choice(there), signal.SIGKILL)


@fault("terminate-worker", "SIGTERM a worker")
def terminate_worker(target: Target, _: Extent) -> None:
    """Ask one worker to leave."""
    os.kill(target.chance.choice(target.workers()), signal.SIGTERM)


@fault("stop-worker", "SIGSTOP a worker, SIGCONT later")
def stop_worker(target: Target, extent: Extent) -> None:
    """Freeze one worker; it goes on later, unless somebody has replaced it."""
    worker = target.chance.choice(target.workers())
    since = processes.started(worker)
    os.kill(worker, signal.SIGSTOP)
    time.sleep(extent.stop)
    signal_if_there(worker, signal.SIGCONT, since)


@fault("kill-all-workers", "SIGKILL all workers at once")
def kill_all_workers(target: Target, _: Extent) -> None:
    """Leave the gateway alone."""
    for worker in target.workers():
        os.kill(worker, signal.SIGKILL)


@fault("kill-gateway", "SIGKILL a gateway member, arbiter and all")
def kill_gateway(target: Target, _: Extent) -> None:
    """Take one of the gateway's members away; what was in flight there is lost."""
    target.kill_gateway(target.chance.choice(target.gateways()))


@fault("kill-controller", "SIGKILL the controller")
def kill_controller(target: Target, _: Extent) -> None:
    """Take away what watches the others; raises Absent where there is none."""
    controller = target.controller()
    if controller is None:
        raise Absent("supervisorctl status has no program controller")
    os.kill(controller, signal.SIGKILL)


@fault("restart-all", "supervisorctl restart of each program, one by one")
def restart_all(target: Target, _: Extent) -> None:
    """Restart every member of every program that serves, each after the last one is back."""
    members = [f"gateway:gateway-{number}" for number in range(target.gateways_wanted)]
    members += [f"inference:inference-{slot}" for slot in range(target.workers_wanted)]
    members += ["controller"] if target.controller() else []
    for member in members:
        target.trial.control("restart", member)


@fault("marked-input", "1 % of the requests kill the worker that computes them")
def marked_input(target: Target, extent: Extent) -> Finished:
    """Send the marked requests beside the others, from a generator of their own."""
    plan = fatal_plan(target.trial.port, extent.rate, extent.seed, extent.deadline, extent.marked)
    return sent(plan)
