"""The system that the rows about dying processes harm: its own, with three workers, whole again after each row."""

from __future__ import annotations

import contextlib
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from deploy.chaos.experiment import experiment, shown, wait_until_whole
from deploy.chaos.faults import Extent, Fault, Inject
from deploy.chaos.traffic import MOCK_SECONDS
from deploy.chaos.verdict import Outcome as Judged
from deploy.load.report import statuses_text
from deploy.repositories import SAMPLES, repository
from deploy.target import Target
from deploy.trial import Sections, trial
from inference_core.settings import CHECKOUT
from tests.e2e.gray_models import add_gray
from tests.e2e.outcome import Outcome
from tests.e2e.patient_model import add_patient

WORKERS, GATEWAYS = 3, 2
RATE, DEADLINE_SECONDS = 150.0, 5.0
KILLS_SECONDS, STOP_SECONDS, MARKED_SECONDS = 20.0, 5.0, 8.0
CHAOS_MODELS = CHECKOUT / "deploy" / "chaos" / "models"
PATIENT_LOG = "computed"
EXTENT = Extent(RATE, 1, DEADLINE_SECONDS, quiet=1.0, kills=KILLS_SECONDS, stop=STOP_SECONDS, marked=MARKED_SECONDS)


class Victim:
    """A system to be harmed; started when it is first asked for."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self._target: Target | None = None
        self.repository: Path
        self._log: Path

    def target(self) -> Target:
        """Return the running system, with everything there."""
        if self._target is None:
            self._target = self._started()
        wait_until_whole(self._target)
        return self._target

    def computed(self) -> list[int]:
        """Return the numbers of the rows that the patient model has begun to compute."""
        return [int(line) for line in self._log.read_text().split()] if self._log.exists() else []

    def _started(self) -> Target:
        self._log = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="hub-log-"))) / PATIENT_LOG
        self.repository = self._stack.enter_context(repository(SAMPLES, CHAOS_MODELS))
        add_patient(self.repository, self._log)
        add_gray(self.repository)
        sections: Sections = {
            "gateway": {"processes": GATEWAYS, "deadline": DEADLINE_SECONDS},
            "inference": {"workers": WORKERS, "repository": str(self.repository), "mock_latency": MOCK_SECONDS},
            "telemetry": {"otlp_endpoint": ""},
        }
        running = self._stack.enter_context(trial(sections))
        return Target(running, WORKERS, GATEWAYS, random.Random(1))  # noqa: S311  # picks victims, no secret


def harmed(
    victim: Victim, inject: Inject | Callable[[Target, Extent], None], name: str = "row"
) -> tuple[Judged, Outcome]:
    """Do a fault under 150 requests per second; return what came of it, also as a row's outcome."""
    answered = experiment(Fault("row", "", inject), victim.target(), EXTENT)
    found = answered.outcome
    if found.note:
        return found, Outcome("", wrong=(found.note,))
    excused = "" if shown(found) == "-" else f" ({shown(found)})"
    failures = f": {statuses_text(found.failures)}" if found.failures else ""
    happened = f"{found.requests} requests, {found.failed} failed{failures}{excused}"
    figure = f"p99 {found.p99 * 1000:.0f} ms, worst {found.worst * 1000:.0f} ms, back after {found.recovery:.1f} s"
    return found, Outcome(happened, f"{figure} (start and load {found.load:.1f} s)", found.wrong)


def seconds_until(condition: Callable[[], bool], longest: float) -> float:
    """Return how long it took until the condition held, `longest` seconds where it did not."""
    began = time.monotonic()
    while not condition() and time.monotonic() - began < longest:
        time.sleep(0.05)
    return time.monotonic() - began
