"""What supervisord and the probes say of a slot becomes one picture."""

from __future__ import annotations

from supervisor.states import ProcessStates

from deploy.controller.roster import Roster
from deploy.controller.rpc import Process
from deploy.controller.watch import Answer
from inference_core.settings import Controller


def process(pid: int, state: int = ProcessStates.RUNNING) -> Process:
    """Return supervisord's entry of slot 0."""
    return Process("inference-0", "inference", state, pid)


def roster(*pids: int) -> Roster:
    """Return a roster that saw these runs of slot 0, one a second."""
    found = Roster(Controller())
    for at, pid in enumerate(pids):
        found.update([process(pid), Process("gateway-0", "gateway", ProcessStates.RUNNING, 9)], float(at))
    return found


def test_an_answer_of_an_earlier_run_does_not_count() -> None:
    """A probe that began before a respawn says nothing about the new worker."""
    seen = roster(1, 2)
    assert seen.heard(0, 1, Answer.SERVING, 2.0) is None
    worker = seen.heard(0, 2, Answer.NOT_SERVING, 2.0)
    assert worker is not None
    assert not worker.served


def test_a_run_that_served_and_ended_was_lost_in_service() -> None:
    """It counts for one start, and a run that never served is none."""
    seen = roster(1)
    seen.heard(0, 1, Answer.SERVING, 1.0)
    assert not seen.lost_in_service("inference-0")
    seen.update([process(0, ProcessStates.BACKOFF)], 2.0)
    assert seen.living(0) is None
    assert seen.lost_in_service("inference-0")
    seen.started_again("inference-0")
    assert not seen.lost_in_service("inference-0")
    assert not seen.lost_in_service("gateway-0")


def test_a_killed_worker_is_not_chosen_again() -> None:
    """The hung one is the victim once."""
    seen = roster(1)
    for answer in (Answer.SERVING, *[Answer.SILENT] * 3):
        seen.heard(0, 1, answer, 1.0)
    victim = seen.victim(1.0)
    assert victim is not None
    seen.killed(victim.slot, 1.0)
    assert seen.victim(1.1) is None
