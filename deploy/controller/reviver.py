"""Starts programs that supervisord gave up, and at once those that were lost in service.

The trace store waits until its place is free: somebody else's, or Jaeger's, is taken for as long as they like.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog
from supervisor.states import ProcessStates

from deploy.controller.history import History
from deploy.controller.journal import slot_of
from deploy.controller.revival import Backoff, Observation, Step, step
from deploy.controller.roster import Roster
from deploy.controller.rpc import Process, Refused, Supervisord
from deploy.controller.store_place import STORE, StorePlace
from deploy.orphans import free_slot
from inference_core.settings import Controller

GROUPS = {"gateway", "inference", STORE}

log = structlog.get_logger()


class Reviver:
    """Knows since when each program runs; the backoffs are handed in and out, because they outlive the controller."""

    def __init__(  # noqa: PLR0913, PLR0917  # everything that says whether a start makes sense
        self,
        settings: Controller,
        run_folder: Path,
        supervisord: Supervisord,
        roster: Roster,
        history: History,
        place: StorePlace,
    ) -> None:
        self._settings, self._run_folder = settings, run_folder
        self._supervisord, self._roster, self._history = supervisord, roster, history
        self._place = place
        self._running: dict[str, tuple[int, float]] = {}

    async def revive(
        self, processes: Iterable[Process], backoffs: dict[str, Backoff], now: float
    ) -> dict[str, Backoff]:
        """Start what is due and return the backoffs after it; raises Unreachable."""
        after = dict(backoffs)
        everyone = list(processes)
        for process in (process for process in everyone if self._may_revive(process, everyone)):
            before = after.pop(process.name, None)
            decision = step(before, self._seen(process, now), now, self._settings)
            if decision.backoff:
                after[process.name] = decision.backoff
            self._say(process, before, decision.backoff, now)
            if decision.start:
                await self._start(process, decision, {other.pid for other in everyone})
        return after

    def _may_revive(self, process: Process, everyone: Sequence[Process]) -> bool:
        if process.group == STORE and process.state == ProcessStates.FATAL:
            return self._place.is_free(everyone)
        return process.group in GROUPS

    def _seen(self, process: Process, now: float) -> Observation:
        pid, since = self._running.get(process.name, (0, now))
        if not process.is_running or pid != process.pid:
            since = now
        self._running[process.name] = process.pid, since
        return Observation(process.state, self._roster.lost_in_service(process.name), now - since)

    async def _start(self, process: Process, decision: Step, supervised: set[int]) -> None:
        slot = slot_of(process.name)
        if slot is not None and (pid := free_slot(self._run_folder, slot, supervised)):
            log.warning("orphan killed", process=process.name, pid=pid, reason="it held the slot's lock")
        self._roster.started_again(process.name)
        is_waiting = process.state == ProcessStates.BACKOFF
        method = self._supervisord.start_again if is_waiting else self._supervisord.start
        try:
            await method(process.address)
        except Refused as refusal:
            log.warning("start refused", process=process.name, reason=str(refusal))
            return
        log.info("started again", process=process.name, next_pause=decision.backoff and decision.backoff.delay)

    def _say(self, process: Process, before: Backoff | None, after: Backoff | None, now: float) -> None:
        if after is None or after.due is None or (before is not None and before.due is not None):
            return
        last = self._history.last(process.name)
        log.error(
            "given up by supervisord",
            process=process.name,
            reason=last.reason if last else None,
            start_in=round(after.due - now, 3),
        )
