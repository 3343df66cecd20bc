"""The programs' memory, processor time and ends are metrics that few labels tell apart."""

from __future__ import annotations

import os
import subprocess

import pytest
from prometheus_client import CollectorRegistry
from supervisor.states import ProcessStates

from deploy.controller.meters import LOOK_SECONDS, Meters
from deploy.controller.rpc import Process
from otel.lives import Exit
from otel.metrics import ControllerMetrics
from otel.processes import resident_bytes
from tests.waiting import wait_for

NAME = "inferencehub_controller_"


def made() -> tuple[Meters, CollectorRegistry]:
    """Return meters and where they count."""
    registry = CollectorRegistry()
    return Meters(ControllerMetrics(registry)), registry


def process(pid: int) -> Process:
    """Return a program as supervisord tells of it."""
    return Process("inference-0", "inference", ProcessStates.RUNNING if pid else ProcessStates.STOPPED, pid)


def test_a_running_process_has_memory_and_time() -> None:
    """Memory is what it is now; processor time adds up, also over restarts, and is never counted twice."""
    meters, registry = made()
    meters.look([process(os.getpid())], 0.0)
    labels = {"process": "inference-0"}
    assert (registry.get_sample_value(f"{NAME}process_memory_bytes", labels) or 0) > 1_000_000
    assert registry.get_sample_value(f"{NAME}process_up", labels) == 1
    assert registry.get_sample_value(f"{NAME}process_cpu_seconds_total", labels) == 0
    sum(range(3_000_000))
    meters.look([process(os.getpid())], LOOK_SECONDS / 2)
    assert registry.get_sample_value(f"{NAME}process_cpu_seconds_total", labels) == 0
    meters.look([process(os.getpid())], LOOK_SECONDS)
    assert 0 < (registry.get_sample_value(f"{NAME}process_cpu_seconds_total", labels) or 0) < 60


def test_what_a_process_started_belongs_to_it() -> None:
    """Memory of children counts: a gateway's arbiter alone says nothing of the gateway."""
    meters, registry = made()
    labels = {"process": "inference-0"}
    meters.look([process(os.getpid())], 0.0)
    alone = registry.get_sample_value(f"{NAME}process_memory_bytes", labels) or 0
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        wait_for(lambda: resident_bytes(child.pid) > 200_000, "the child's memory")
        meters.look([process(os.getpid())], LOOK_SECONDS)
        assert (registry.get_sample_value(f"{NAME}process_memory_bytes", labels) or 0) > alone + 100_000
        child.communicate()


def test_a_process_that_is_down_has_none() -> None:
    """Its series stay, at zero."""
    meters, registry = made()
    meters.look([process(0)], 0.0)
    labels = {"process": "inference-0"}
    assert registry.get_sample_value(f"{NAME}process_up", labels) == 0
    assert registry.get_sample_value(f"{NAME}process_memory_bytes", labels) == 0


@pytest.mark.parametrize(
    ("exit_", "cause"),
    [
        (Exit("now", "inference-0", signal="SIGKILL"), "SIGKILL"),
        (Exit("now", "inference-0", code=3), "code 3"),
        (Exit("now", "inference-0", signal="SIGTERM", asked=True), "stopped"),
        (Exit("now", "inference-0", reason="supervisord ended before it"), "lost"),
    ],
)
def test_an_end_is_counted_by_its_cause(exit_: Exit, cause: str) -> None:
    """Signal, exit status, or that somebody stopped it."""
    meters, registry = made()
    meters.ended(exit_)
    labels = {"process": "inference-0", "cause": cause}
    assert registry.get_sample_value(f"{NAME}exits_total", labels) == 1
