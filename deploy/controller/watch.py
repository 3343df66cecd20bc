"""Which worker hangs, and whether it may be killed now. Pure: times come in, in seconds of the monotonic clock."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from inference_core.settings import Controller


class Answer(Enum):
    """What a probe got."""

    SERVING = "serving"
    NOT_SERVING = "not serving"
    SILENT = "silent"
    STARVED = "silent, but so was the machine"


@dataclass(frozen=True)
class Worker:
    """What is known of one run of a worker, from supervisord and from probes.

    `silences` counts unanswered probes in a row, `failures` those of them that a starved machine does not excuse.
    `heard` is the time of the last answer, or of the first sight. `served` stays true for what is left of the run.
    """

    slot: int
    pid: int
    seen: float
    heard: float
    is_alive: bool = True
    is_running: bool = False
    answered: bool = False
    serving: bool = False
    served: bool = False
    silences: int = 0
    failures: int = 0
    killed: float | None = None

    @classmethod
    def of(cls, slot: int, pid: int, now: float) -> Worker:
        """Return a worker that was just seen for the first time."""
        return cls(slot, pid, seen=now, heard=now)

    def after(self, answer: Answer, now: float) -> Worker:
        """Return the worker after one more probe."""
        if answer in {Answer.SILENT, Answer.STARVED}:
            failures = self.failures + (answer is Answer.SILENT)
            return replace(self, serving=False, silences=self.silences + 1, failures=failures)
        serving = answer is Answer.SERVING
        served = self.served or serving
        return replace(self, answered=True, serving=serving, served=served, silences=0, failures=0, heard=now)

    def hangs(self, now: float, settings: Controller) -> bool:
        """Tell whether its event loop is taken for dead.

        What never answered may still be loading, and silence on a starved machine proves nothing, until it has lasted
        for `start_grace`. Probes count and not time alone, since the controller itself may have been stopped.
        """
        if not self.is_running or self.killed is not None:
            return False
        is_long = now - self.heard >= settings.start_grace
        enough = settings.probe_failures
        return (self.answered and self.failures >= enough) or (is_long and self.silences >= enough)

    def is_coming(self, now: float, settings: Controller) -> bool:
        """Tell whether it is on its way to SERVING: killed a moment ago, or started and not yet there."""
        if self.killed is not None:
            return now - self.killed < settings.start_grace
        return self.is_alive and not self.served and now - self.seen < settings.start_grace


def victim(workers: Iterable[Worker], now: float, settings: Controller) -> Worker | None:
    """Return the one worker to kill now: the one that is silent for longest, and none while another is coming back.

    When no worker serves there is nothing left to protect, and a hung one does not wait for another.
    """
    everyone = list(workers)
    hung = [worker for worker in everyone if worker.hangs(now, settings)]
    is_recovering = any(worker.is_coming(now, settings) for worker in everyone if worker not in hung)
    if not hung or (is_recovering and any(worker.serving for worker in everyone)):
        return None
    return min(hung, key=lambda worker: worker.heard)
