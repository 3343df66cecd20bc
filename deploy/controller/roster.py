"""The workers as supervisord and the probes see them, by slot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import structlog

from deploy.controller.journal import slot_of
from deploy.controller.rpc import Process
from deploy.controller.watch import Answer, Worker, victim
from inference_core.settings import Controller

log = structlog.get_logger()


class Roster:
    """What is known of the current or last run in each slot."""

    def __init__(self, settings: Controller) -> None:
        self._settings = settings
        self._workers: dict[int, Worker] = {}

    def update(self, processes: Iterable[Process], now: float) -> None:
        """Take over what supervisord says."""
        for process in processes:
            slot = slot_of(process.name)
            if slot is not None:
                self._place(slot, process, now)

    def _place(self, slot: int, process: Process, now: float) -> None:
        known = self._workers.get(slot)
        if process.pid and (known is None or known.pid != process.pid):
            known = Worker.of(slot, process.pid, now)
        if known is not None:
            is_alive = process.pid == known.pid
            serving = known.serving and is_alive
            is_running = process.is_running and is_alive
            self._workers[slot] = replace(known, is_alive=is_alive, is_running=is_running, serving=serving)

    def living(self, slot: int) -> Worker | None:
        """Return the worker that can be probed."""
        worker = self._workers.get(slot)
        return worker if worker is not None and worker.is_alive else None

    def heard(self, slot: int, pid: int, answer: Answer, now: float) -> Worker | None:
        """Take over a probe's answer, and return the worker after it; None where another run has begun meanwhile."""
        worker = self.living(slot)
        if worker is None or worker.pid != pid:
            return None
        after = self._workers[slot] = worker.after(answer, now)
        if after.served and not worker.served:
            log.info("worker serves", slot=slot, pid=pid, seconds=round(now - after.seen, 3))
        return after

    def victim(self, now: float) -> Worker | None:
        """Return the hung worker to kill now, if any."""
        return victim(self._workers.values(), now, self._settings)

    def killed(self, slot: int, now: float) -> None:
        """Note that a worker was killed for hanging."""
        self._workers[slot] = replace(self._workers[slot], killed=now)

    def lost_in_service(self, process: str) -> bool:
        """Tell whether the last run of a program had served and has ended."""
        slot = slot_of(process)
        worker = None if slot is None else self._workers.get(slot)
        return worker is not None and worker.served and not worker.is_alive

    def started_again(self, process: str) -> None:
        """Forget that the last run had served, so that this counts for one start only."""
        slot = slot_of(process)
        if slot is not None and slot in self._workers:
            self._workers[slot] = replace(self._workers[slot], served=False)
