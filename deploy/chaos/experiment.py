"""Does one fault to a system under load, and waits until everything is back."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

from deploy.chaos.faults import Absent, Extent, Fault
from deploy.chaos.traffic import plan
from deploy.chaos.verdict import Observation, Outcome, judge
from deploy.chaos.watch import Probe, Watch, members_probe, ready_probe, slot_probe, well_again
from deploy.load.process import Finished, sending
from deploy.load.report import statuses_text
from deploy.target import Target
from otel import processes

SETTLE_SECONDS = 1.0
STEADY_SECONDS = 1.5
"""How long everything must have been well to count as back."""
LONGEST_RECOVERY_SECONDS = 30.0


@dataclass(frozen=True)
class Answered:
    """What came of a fault, and samples of the answers that nobody expected."""

    outcome: Outcome
    samples: dict[str, str]


def experiment(fault: Fault, target: Target, extent: Extent) -> Answered:
    """Do the fault under load, and return what came of it; the system is whole again afterwards."""
    target.gateway_kills.clear()
    try:
        with Watch(_probes(target)) as watch:
            seen, samples = _observed(fault, target, extent, watch)
    except Absent as absent:
        return Answered(_not_there(fault, str(absent)), {})
    wait_until_whole(target)
    return Answered(judge(fault.name, fault.done, seen), samples)


def _observed(fault: Fault, target: Target, extent: Extent, watch: Watch) -> tuple[Observation, dict[str, str]]:
    with sending(plan(target.trial.port, extent.rate, extent.seed, extent.deadline)) as running:
        time.sleep(SETTLE_SECONDS)
        began = time.monotonic()
        marked = fault.inject(target, extent)
        over = time.monotonic()
        watch.wait_until_well(over, LONGEST_RECOVERY_SECONDS, STEADY_SECONDS)
        finished = running.stop()
    seen = Observation(
        began=began,
        over=over,
        back=well_again(watch.changes(), over),
        load_seconds=_load_seconds(target, watch, began),
        gateway_kills=tuple(target.gateway_kills),
        records=finished.records,
        marked=marked.records if marked else None,
    )
    return seen, {**finished.samples, **_samples(marked)}


def _samples(finished: Finished | None) -> dict[str, str]:
    return finished.samples if finished else {}


def _probes(target: Target) -> list[Probe]:
    trial = target.trial
    slots = [slot_probe(slot, trial.run_folder / f"inference-{slot}.sock") for slot in range(target.workers_wanted)]
    controllers = [Probe("controller", lambda: target.controller() is not None)] if target.controller() else []
    members = members_probe(target.gateways, target.gateways_wanted)
    return [*slots, ready_probe(trial.port), members, *controllers]


def _load_seconds(target: Target, watch: Watch, began: float) -> float:
    """Return the longest time that a worker which was started since then took until its slot served."""
    changes = watch.changes()
    longest = 0.0
    for slot, worker in enumerate(target.workers()):
        started = processes.started(worker)
        seen = changes.get(f"slot {slot}")
        if started > began and seen and seen[-1].well:
            longest = max(longest, seen[-1].moment - started)
    return longest


def wait_until_whole(target: Target) -> None:
    """Wait until everything is there; bring back by hand what does not come, so that the next fault meets it whole."""
    with Watch(_probes(target)) as watch:
        if not watch.wait_until_well(time.monotonic(), LONGEST_RECOVERY_SECONDS, 0.0):
            target.trial.control("restart", "inference:*")
            target.trial.control("start", "gateway:*")
            watch.wait_until_well(time.monotonic(), LONGEST_RECOVERY_SECONDS, STEADY_SECONDS)


def _not_there(fault: Fault, note: str) -> Outcome:
    nan = math.nan
    return Outcome(fault.name, fault.done, 0, 0, {}, 0, {}, nan, nan, nan, 0.0, (), note)


def shown(outcome: Outcome) -> str:
    """Return what is excused in a row, for the table."""
    parts = [f"{outcome.lost} in flight in the killed member"] if outcome.lost else []
    parts += [f"marked: {statuses_text(outcome.marked)}"] if outcome.marked else []
    return "; ".join(parts) or "-"
