"""What the controller starts again, told to a supervisord that only listens."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from supervisor.states import ProcessStates

from deploy.controller.history import History
from deploy.controller.revival import Backoff
from deploy.controller.reviver import Reviver
from deploy.controller.roster import Roster
from deploy.controller.rpc import Process, Supervisord
from deploy.controller.store_place import StorePlace
from deploy.trial import free_ports
from inference_core.settings import Controller


class Listening:
    """Notes what is started."""

    def __init__(self) -> None:
        self.started: list[str] = []

    async def start(self, address: str) -> None:
        """As Supervisord's."""
        self.started.append(address)


class Revival:
    """A reviver, what it started, and its backoffs."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.supervisord = Listening()
        settings = Controller()
        roster, history = Roster(settings), History(folder)
        supervisord = cast("Supervisord", self.supervisord)
        self.reviver = Reviver(settings, folder, supervisord, roster, history, StorePlace(port))
        self.backoffs: dict[str, Backoff] = {}

    async def looks(self, *processes: Process) -> list[str]:
        """Look twice at the same programs, the second time when every pause is over; return what was started."""
        for now in (100.0, 200.0):
            self.backoffs = await self.reviver.revive(processes, self.backoffs, now)
        return self.supervisord.started


@pytest.fixture
def revival(tmp_path: Path) -> Revival:
    """Return one that has seen nothing."""
    return Revival(tmp_path)


def store(state: int) -> Process:
    """Return the trace store in a state."""
    return Process("tracestore", "tracestore", state, 0)


def jaeger(state: int) -> Process:
    """Return Jaeger in a state."""
    return Process("jaeger", "jaeger", state, 0)


async def test_a_trace_store_that_was_given_up_is_started(revival: Revival) -> None:
    """FATAL is no end for the store, as it is none for a worker; Jaeger is nobody's to start."""
    assert await revival.looks(store(ProcessStates.FATAL), jaeger(ProcessStates.FATAL)) == ["tracestore:tracestore"]


async def test_a_trace_store_that_a_person_stopped_stays_stopped(revival: Revival) -> None:
    """STOPPED is left alone, whether Jaeger runs in its place or nothing does."""
    assert await revival.looks(store(ProcessStates.STOPPED)) == []
    assert await revival.looks(store(ProcessStates.STOPPED), jaeger(ProcessStates.RUNNING)) == []


async def test_jaeger_is_not_turned_out(revival: Revival) -> None:
    """A store that was given up before Jaeger took its place waits until Jaeger has left."""
    assert await revival.looks(store(ProcessStates.FATAL), jaeger(ProcessStates.BACKOFF)) == []
    assert await revival.looks(store(ProcessStates.FATAL), jaeger(ProcessStates.STOPPED)) == ["tracestore:tracestore"]
