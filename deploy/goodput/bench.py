"""A system on one core, the generator on another: sends loads and measures what they give and cost."""

from __future__ import annotations

import contextlib
import json
import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.goodput.point import Cost, Point, is_sustained, point
from deploy.load.plan import Kind, Plan, Stage
from deploy.load.process import sending
from deploy.load.records import Records
from deploy.overrides import merged
from deploy.repositories import SAMPLES, repository
from deploy.target import Target
from deploy.trial import Sections, trial
from inference_core.errors import ConfigurationError
from otel import processes

MODELS = Path(__file__).parent / "models"
BODY = json.dumps({"features": [1.0, 2.0], "model_name": "sleep"})
SERVING_CORE, SENDING_CORE = 0, 1
WORKERS, GATEWAYS = 2, 2
SPARE_SECONDS = 1.0
"""Beyond the deadline, before the client gives up: a late answer is counted for what it is."""
SAMPLING_SECONDS = 0.1
REST_SECONDS, LONGEST_REST_SECONDS = 1.0, 30.0
CONNECTIONS, MOST_CONNECTIONS = 1000, 4000
"""Open before the load begins, as many as wait for an answer at most: to open them is no part of what is measured."""
KEEP_ALIVE_SECONDS = 60.0


@dataclass(frozen=True)
class Durations:
    """How long each part lasts, in seconds."""

    step: float = 4.0
    warm: float = 3.0
    measured: float = 6.0
    calm: float = 6.0
    spike: float = 5.0
    stopped: float = 10.0


@dataclass(frozen=True)
class Bench:
    """A running system, and how it is asked; `say` takes lines of progress."""

    target: Target
    deadline: float
    seed: int
    durations: Durations
    say: Callable[[str], None]

    def kind(self, name: str = "ask", weight: float = 1.0, **headers: str) -> Kind:
        """Return a request to the sleeping model, with this bench's deadline."""
        fields = {"X-Request-Timeout": str(self.deadline)} | {
            key.replace("_", "-"): value for key, value in headers.items()
        }
        return Kind(name, BODY, fields, weight)

    def plan(self, *stages: Stage, kinds: tuple[Kind, ...] = (), retries: int = 0) -> Plan:
        """Return a load for this system."""
        return Plan(
            "127.0.0.1",
            self.target.trial.port,
            kinds or (self.kind(),),
            stages,
            seed=self.seed,
            connections=CONNECTIONS,
            most_connections=MOST_CONNECTIONS,
            patience=self.deadline + SPARE_SECONDS,
            retries=retries,
            longest_idle=KEEP_ALIVE_SECONDS / 2,
        )

    def records(self, plan: Plan, during: Callable[[], None] = lambda: None) -> Records:
        """Send a whole load, calling `during` when it begins, and return what became of it."""
        with sending(plan, core=SENDING_CORE) as running:
            during()
            return running.finish().records

    def measure(self, rate: float, *, kinds: tuple[Kind, ...] = (), retries: int = 0) -> Point:
        """Offer that many requests per second, and return the figures after the warm-up."""
        warm, measured = self.durations.warm, self.durations.measured
        plan = self.plan(Stage(rate, warm + measured), kinds=kinds, retries=retries)
        costs: list[Cost] = []

        def watch() -> None:
            time.sleep(warm)
            costs.append(self._cost(measured))

        records = self.records(plan, watch)
        cost = replace(costs[0], after=self._resident())
        start = records.due[0] + warm
        return point(records.between(start, start + measured), self.deadline, measured, cost)

    def step(self, rate: float) -> Records:
        """Offer that many requests per second for a short time."""
        return self.records(self.plan(Stage(rate, self.durations.step)))

    def rest(self, rate: float) -> None:
        """Wait until the system bears a small load again, so that one row's backlog is not held against the next."""
        over = time.monotonic() + LONGEST_REST_SECONDS
        while time.monotonic() < over:
            if is_sustained(self.records(self.plan(Stage(rate, REST_SECONDS))), self.deadline):
                return
        self.say(f"    still not at rest after {LONGEST_REST_SECONDS:g} s")

    def with_seed(self, seed: int) -> Bench:
        """Return the same bench with other arrivals."""
        return replace(self, seed=seed)

    def _cost(self, seconds: float) -> Cost:
        pids = self.target.serving()
        used = processes.processor_seconds(pids)
        before = most = self._resident()
        over = time.monotonic() + seconds
        while time.monotonic() < over:
            time.sleep(SAMPLING_SECONDS)
            most = {name: max(most[name], size) for name, size in self._resident().items()}
        return Cost(processes.processor_seconds(pids) - used, before, most, most)

    def _resident(self) -> Mapping[str, int]:
        groups = {"gateways": self.target.gateways(), "workers": self.target.workers()}
        return {
            name: sum(processes.resident_bytes(process) for pid in pids for process in processes.tree(pid))
            for name, pids in groups.items()
        }


@contextlib.contextmanager
def bench(
    deadline: float, seed: int, durations: Durations, say: Callable[[str], None], extra: Sections
) -> Iterator[Bench]:
    """Start a system on one core with these further settings; raises ConfigurationError where there is only one."""
    if not {SERVING_CORE, SENDING_CORE} <= os.sched_getaffinity(0):
        raise ConfigurationError(
            f"This needs processor cores {SERVING_CORE} and {SENDING_CORE}, one for the system and one for the load."
        )
    prefix = ("taskset", "-c", str(SERVING_CORE))
    with repository(SAMPLES, MODELS) as models, trial(_settings(models, extra), prefix=prefix) as running:
        chance = random.Random(seed)  # noqa: S311  # picks victims, no secret
        yield Bench(Target(running, WORKERS, GATEWAYS, chance), deadline, seed, durations, say)


def _settings(models: Path, extra: Sections) -> Sections:
    base: dict[str, dict[str, Any]] = {
        "gateway": {"processes": GATEWAYS, "keep_alive": KEEP_ALIVE_SECONDS, "header_deadline": KEEP_ALIVE_SECONDS},
        "inference": {"workers": WORKERS, "repository": str(models)},
        "telemetry": {"otlp_endpoint": ""},  # its spans would go to whatever the machine's user runs
    }
    return merged(base, extra)
