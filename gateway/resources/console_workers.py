"""GET /console/api/workers: slots, programs and exits; GET /console/api/about: what the page needs to know first."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from falcon.asgi import Request, Response

from gateway.resources.console_answer import answer
from gateway.slots import Slot
from gateway.workers import Workers
from otel.lives import Exit, Running, recorded, restarts, running

HOUR = 3600.0
SHOWN_EXITS = 50
JAEGER, JAEGER_PORT = "jaeger", "JAEGER_UI_PORT"
JAEGERS_OWN_PORT = 16686


class Restarts(msgspec.Struct, frozen=True):
    """How often a program ended without being asked to: in the last hour, and in all that is recorded."""

    hour: int
    recorded: int


class Place(msgspec.Struct, frozen=True):
    """A worker's slot as this gateway process sees it; `batches` are under way from here, `late` counts suspicions."""

    slot: int
    state: str
    batches: int
    late: int
    models: dict[str, list[str]]
    program: Running | None
    restarts: Restarts


class Program(msgspec.Struct, frozen=True):
    """Any program under supervisord."""

    program: Running
    restarts: Restarts


class Machine(msgspec.Struct, frozen=True):
    """All slots, all programs that run, the newest exits first; `member` is the process that answers."""

    member: int
    slots: list[Place]
    programs: list[Program]
    exits: list[Exit]


class WorkersResource:
    """The workers of this machine, and the programs beside them."""

    def __init__(self, workers: Workers, run_folder: Path) -> None:
        self._workers = workers
        self._folder = run_folder

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer with what runs; programs and exits are empty where no controller ever ran."""
        programs, exits = await asyncio.to_thread(lambda: (running(self._folder), recorded(self._folder)))
        answer(response, machine(self._workers.slots, programs, exits))


class AboutResource:
    """The version, and the port of Jaeger's page while it runs."""

    def __init__(self, version: str, run_folder: Path) -> None:
        self._version = version
        self._folder = run_folder

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer with both; the port is None where Jaeger does not run."""
        programs = await asyncio.to_thread(running, self._folder)
        is_there = any(one.program == JAEGER for one in programs)
        port = int(os.environ.get(JAEGER_PORT, JAEGERS_OWN_PORT)) if is_there else None
        answer(response, {"version": self._version, "jaeger_port": port})


def machine(slots: Sequence[Slot], programs: Sequence[Running], exits: Sequence[Exit]) -> Machine:
    """Return what is known of a machine, whose exits are the oldest first."""
    lately, ever = restarts(exits, time.time() - HOUR), restarts(exits, 0.0)

    def ended(program: str) -> Restarts:
        return Restarts(lately.get(program, 0), ever.get(program, 0))

    by_name = {one.program: one for one in programs}
    places = [
        _place(slot, by_name.get(f"inference-{slot.number}"), ended(f"inference-{slot.number}")) for slot in slots
    ]
    others = [Program(one, ended(one.program)) for one in programs]
    return Machine(os.getpid(), places, others, list(reversed(exits[-SHOWN_EXITS:])))


def _place(slot: Slot, program: Running | None, ended: Restarts) -> Place:
    models = {name: list(facts.versions) for name, facts in slot.models.items()}
    return Place(slot.number, slot.state.value, slot.batches, slot.late, models, program, ended)
