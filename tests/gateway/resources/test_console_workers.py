"""Slots, programs and exits as one document."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from falcon.testing import ASGIConductor

from gateway.resources.console_workers import SHOWN_EXITS, machine
from gateway.slots import Slot, State
from otel.lives import Exit, Running
from tests.gateway.fake_worker import FakeWorker
from tests.waiting import eventually_answers

GIB = 2**30


def ended(minutes: float, program: str, *, asked: bool = False) -> Exit:
    """Return an exit of so many minutes ago."""
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    return Exit(at.isoformat(), program, signal="SIGKILL", asked=asked)


def test_a_slot_is_told_with_its_program_and_its_restarts() -> None:
    """What the gateway sees of a slot and what the controller knows of its program stand together."""
    slot = Slot(1, "/nowhere", [], 0, lambda _: None, state=State.SUSPECT, late=2)
    exits = [ended(300, "inference-1"), ended(5, "inference-1"), ended(4, "inference-1", asked=True)]
    found = machine([slot], [Running("inference-1", 42, 10.0, GIB, 1.5), Running("controller", 7, 9.0, 1, 0.1)], exits)
    (place,) = found.slots
    assert (place.state, place.late, place.restarts.hour, place.restarts.recorded) == ("suspect", 2, 1, 2)
    assert place.program is not None
    assert (place.program.pid, place.program.memory_bytes) == (42, GIB)
    assert [one.program.program for one in found.programs] == ["inference-1", "controller"]
    assert found.exits == exits[::-1]


def test_only_the_newest_exits_are_told() -> None:
    """However many are recorded, the page gets the newest ones."""
    exits = [ended(1000 - number, "inference-0") for number in range(200)]
    found = machine([], [], exits).exits
    assert len(found) == SHOWN_EXITS
    assert found[0] is exits[-1]


async def test_slots_are_told_without_supervisord(client: ASGIConductor, worker: FakeWorker) -> None:
    """Where no controller ran, the slots are there and programs are unknown."""

    async def answer() -> dict[str, object] | None:
        found = (await client.simulate_get("/console/api/workers")).json
        return found if found["slots"][0]["state"] == "ready" else None

    found = await eventually_answers(answer, "a ready slot")
    assert found is not None
    assert (found["programs"], found["exits"]) == ([], [])


async def test_the_page_is_told_its_version_and_where_jaeger_is(client: ASGIConductor) -> None:
    """Jaeger's port is told while it runs, and it does not."""
    began = time.monotonic()
    answer = await client.simulate_get("/console/api/about")
    assert (answer.status_code, answer.json["jaeger_port"]) == (200, None)
    assert answer.headers["cache-control"] == "no-store"
    assert time.monotonic() - began < 5
