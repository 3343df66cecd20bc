"""Second chances: a batch whose worker is suspiciously slow goes to another one, too, and the first answer wins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog
from grpc import StatusCode

from gateway.attempts import Attempt
from gateway.shared import Shared
from gateway.worker_errors import outcome_of
from inference_core import errors

log = structlog.get_logger()


class Hedger:
    """One model's second chances. `answer` tells a response to a batch's requests, `wake` of a place given back."""

    def __init__(
        self, shared: Shared, answer: Callable[[Attempt, Any], Awaitable[None]], wake: Callable[[], None]
    ) -> None:
        self._workers, self._attempts, self._tally = shared.workers, shared.attempts, shared.tally
        self._budget = shared.hedges
        self._answer, self._wake = answer, wake

    def hedge(self, attempt: Attempt) -> None:
        """Send a batch to a second worker, if one is idle and the budget allows it; never one that may kill."""
        entries = attempt.batch.waiting()
        if attempt.batch.reason == "alone" or not entries or any(entry.losses for entry in entries):
            return
        key = attempt.model, attempt.version
        slot = self._workers.claim(*key, other_than=attempt.slot)
        if slot is None:
            return
        if not slot.is_connected() or not self._budget.spend(len(entries)):
            self._workers.release(attempt.model, slot, attempt.version)
            self._wake()
            return
        twin = self._attempts.begin(key, slot, attempt.batch)
        self._tally.sent(attempt.model, attempt.batch.rows)
        attempt.hedge = asyncio.get_running_loop().create_task(self._run_hedge(attempt, twin))
        self._tally.hedged(attempt.model, "started")
        # Not in the task itself: one that is cancelled before its first step never runs a line of its own.
        attempt.hedge.add_done_callback(lambda task: self._hedge_over(twin, task))

    async def _run_hedge(self, primary: Attempt, twin: Attempt) -> StatusCode:
        try:
            await self._answer(twin, await twin.call)
        except grpc.aio.AioRpcError as error:
            return error.code()
        except errors.InferenceHubError:
            return StatusCode.INTERNAL
        except Exception:
            log.exception("hedge failed", model=primary.model)
            return StatusCode.UNKNOWN
        primary.is_beaten = True
        primary.call.cancel()
        self._tally.hedged(primary.model, "won")
        return StatusCode.OK

    def _hedge_over(self, twin: Attempt, task: asyncio.Task[StatusCode]) -> None:
        twin.call.cancel()
        status = StatusCode.CANCELLED if task.cancelled() else task.result()
        self._attempts.end(twin, status)
        self._tally.attempted(twin.model, outcome_of(status))
        self._workers.release(twin.model, twin.slot, twin.version)
        self._wake()
