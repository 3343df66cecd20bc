"""The controller's loop: look at supervisord, record what ended, start what was given up, kill what hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import structlog

from deploy.controller.handles import Handles
from deploy.controller.meters import Meters
from deploy.controller.probes import Probe
from deploy.controller.recorder import Recorder
from deploy.controller.reviver import Reviver
from deploy.controller.roster import Roster
from deploy.controller.rpc import Process, Supervisord, Unreachable
from deploy.controller.state import StateFile
from deploy.controller.watch import Worker
from inference_core.settings import Controller

HURRY_SECONDS = 0.01
HURRIES = 8
"""supervisord needs a few looks to notice an end, to note it and to spawn again; each call to it is one."""

START_PROBE_SECONDS = 0.1

log = structlog.get_logger()


class Trouble:
    """Logs a lasting trouble once when it begins and once when it ends."""

    def __init__(self, began: str, ended: str) -> None:
        self._began, self._ended, self._lasts = began, ended, False

    def is_on(self, reason: str) -> None:
        """Note that it is there."""
        if not self._lasts:
            log.warning(self._began, reason=reason)
        self._lasts = True

    def is_over(self) -> None:
        """Note that it is not there."""
        if self._lasts:
            log.info(self._ended)
        self._lasts = False


@dataclass
class ControlLoop:
    """Runs until `stop` is called. Serving never waits for it and never depends on it."""

    settings: Controller
    supervisord: Supervisord
    roster: Roster
    recorder: Recorder
    reviver: Reviver
    states: StateFile
    meters: Meters

    def __post_init__(self) -> None:
        self._saved = self._state = self.states.load()
        self._wake = asyncio.Event()
        self._handles = Handles(self._wake.set)
        self._hurries = 0
        self._stopping = False
        self._away = Trouble("supervisord does not answer", "supervisord answers again")
        self._unwritable = Trouble("the run folder cannot be written", "the run folder can be written again")

    def stop(self) -> None:
        """End the loop after the turn that is under way."""
        self._stopping = True
        self._wake.set()

    async def run(self, probe: Callable[[int], Probe], slots: int) -> None:
        """Watch the slots 0 to `slots` - 1 and everything that supervisord runs; `probe` connects to a slot."""
        async with asyncio.TaskGroup() as group:
            probing = [group.create_task(self._watch(slot, probe)) for slot in range(slots)]
            while not self._stopping:
                await self._turn()
                await self._pause()
            for task in probing:
                task.cancel()
        self._record()
        self._handles.close()
        self.supervisord.close()

    async def _turn(self) -> None:
        try:
            processes = await self.supervisord.processes()
            self._away.is_over()
            await self._act(processes, time.monotonic())
        except Unreachable as error:
            self._away.is_on(str(error))
            self._record()

    async def _act(self, processes: list[Process], now: float) -> None:
        self._handles.keep(process.pid for process in processes if process.pid)
        self.roster.update(processes, now)
        self._record()
        self.meters.look(processes, now)
        backoffs = await self.reviver.revive(processes, self._state.backoffs, now)
        self._state = msgspec.structs.replace(self._state, backoffs=backoffs)
        self._save()
        if worker := self.roster.victim(now):
            self._kill(worker, now)

    def _kill(self, worker: Worker, now: float) -> None:
        reason = (
            f"hung: no answer to {worker.silences} probes in {now - worker.heard:.1f} s, so the controller killed it"
        )
        self._state = msgspec.structs.replace(self._state, verdicts={**self._state.verdicts, worker.pid: reason})
        self._save()  # before the deed, so that a controller that dies now still knows the reason
        log.error("hung", slot=worker.slot, pid=worker.pid, reason=reason)
        # Not by supervisord's signalProcess, whose late call would hit the next run, and not by SIGTERM, which a
        # stopped process and a hung loop never handle.
        self._handles.kill(worker.pid)
        self.roster.killed(worker.slot, now)

    def _record(self) -> None:
        try:
            self._state = self.recorder.catch_up(self._state)
            self._unwritable.is_over()
        except OSError as error:
            self._unwritable.is_on(str(error))
        self._save()

    def _save(self) -> None:
        if self._state == self._saved:
            return
        try:
            self.states.save(self._state)
            self._saved = self._state
        except OSError as error:
            self._unwritable.is_on(str(error))

    async def _pause(self) -> None:
        seconds = HURRY_SECONDS if self._hurries else self.settings.poll_interval
        self._hurries = max(0, self._hurries - 1)
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
            self._hurries = HURRIES
        except TimeoutError:
            pass
        self._wake.clear()

    async def _watch(self, slot: int, connect: Callable[[int], Probe]) -> None:
        probe, pid = connect(slot), 0
        while True:
            began = time.monotonic()
            worker = self.roster.living(slot)
            if worker is not None:
                if worker.pid != pid:
                    await probe.close()  # a channel to the run before may be waiting to reconnect
                    probe, pid = connect(slot), worker.pid
                answer = await probe.ask(pid)
                worker = self.roster.heard(slot, pid, answer, time.monotonic())
            is_settled = worker is not None and worker.served
            interval = self.settings.probe_interval if is_settled else START_PROBE_SECONDS
            await asyncio.sleep(max(0.0, began + interval - time.monotonic()))
