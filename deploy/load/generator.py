"""Sends a plan's requests when they are due and records what became of each."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque

import numpy as np

from deploy.load.connection import Connection
from deploy.load.connections import Connections
from deploy.load.plan import Plan, rendered
from deploy.load.records import LATE, PENDING, UNSENT, Records, expectation
from deploy.load.schedule import schedule

TICK_SECONDS = 0.001
"""uvloop's timers count whole milliseconds; a shorter pause would be a busy loop."""
SWEEP_SECONDS = 0.02
MOST_SAMPLES, SAMPLE_BYTES = 20, 600


class Generator:
    """One run of a plan, inside a running loop.

    Open loop: a request that finds no free connection waits for one, and its latency counts from when it was due.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        drawn = schedule(plan)
        self._schedule = drawn
        self._due: list[float] = drawn.due.tolist()
        self._kind: list[int] = drawn.kind.tolist()
        self._data = [rendered(plan, kind) for kind in plan.kinds]
        self._wanted = [frozenset(kind.expected) for kind in plan.kinds]
        self._start = 0.0
        self._next = 0
        self._last = len(self._due)
        self._done = 0
        self._sent = array("d", [float("nan")]) * self._last
        self._ended = array("d", [float("nan")]) * self._last
        self._status = array("h", [PENDING]) * self._last
        self._attempts = array("B", [0]) * self._last
        self._unanswered: deque[int] = deque()
        self._finished = asyncio.Event()
        self._connections = Connections(plan, self._send, self._end)
        self.samples: dict[tuple[int, int], bytes] = {}
        """The beginning of one answer for each (kind, status) that its kind does not expect."""

    @property
    def most_connections(self) -> int:
        """The largest number of connections that were open together."""
        return self._connections.most

    @property
    def progress(self) -> tuple[int, int, int]:
        """How many requests were due so far, have ended, and there are in all."""
        return self._next, self._done, self._last

    async def open(self) -> None:
        """Open the plan's first connections; raises OSError where nobody listens."""
        await self._connections.open_ahead(self.plan.connections)

    async def run(self) -> Records:
        """Send everything, wait for the answers, and return the records."""
        loop = asyncio.get_running_loop()
        self._start = time.monotonic() + TICK_SECONDS
        self._tick(loop)
        self._sweep(loop)
        await self._finished.wait()
        self._connections.close()
        await asyncio.sleep(0)  # lets the transports close
        return self._records()

    def stop(self) -> None:
        """Let no further request become due; `run` returns when those before have ended."""
        self._last = self._next
        self._finish_if_done()

    def abandon(self) -> None:
        """Stop, and give up what is not answered yet; that counts as late or unsent."""
        self._last = self._next
        while self._unanswered:
            request = self._unanswered.popleft()
            if self._status[request] == PENDING:
                self._give_up(request)
        self._finish_if_done()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        elapsed = time.monotonic() - self._start
        while self._next < self._last and self._due[self._next] <= elapsed:
            self._unanswered.append(self._next)
            self._connections.submit(self._next)
            self._next += 1
        if self._next < self._last:
            pause = self._due[self._next] - (time.monotonic() - self._start)
            loop.call_later(max(TICK_SECONDS, pause), self._tick, loop)
        self._finish_if_done()

    def _send(self, request: int, connection: Connection) -> None:
        if not self._attempts[request]:
            self._sent[request] = time.monotonic()
        self._attempts[request] += 1
        connection.send(request, self._data[self._kind[request]])

    def _end(self, request: int, status: int, answer: bytes) -> None:
        kind = self._kind[request]
        if status not in self._wanted[kind]:
            if self._attempts[request] <= self.plan.retries and status != LATE:
                self._connections.submit(request)
                return
            if answer and len(self.samples) < MOST_SAMPLES:
                self.samples.setdefault((kind, status), answer[:SAMPLE_BYTES])
        self._status[request] = status
        self._ended[request] = time.monotonic()
        self._done += 1
        self._finish_if_done()

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = time.monotonic() - self._start
        while self._unanswered:
            request = self._unanswered[0]
            if self._status[request] == PENDING:
                if self._due[request] + self.plan.patience > now:
                    break
                self._give_up(request)
            self._unanswered.popleft()
        if not self._finished.is_set():
            loop.call_later(SWEEP_SECONDS, self._sweep, loop)

    def _give_up(self, request: int) -> None:
        was_sent = self._connections.abandon(request)
        self._status[request] = LATE if was_sent else UNSENT
        self._ended[request] = time.monotonic()
        self._done += 1
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if self._next >= self._last and self._done >= self._last:
            self._finished.set()

    def _records(self) -> Records:
        count = self._last
        status = np.array(self._status[:count], np.int16)
        kind = self._schedule.kind[:count]
        return Records(
            due=self._schedule.due[:count] + self._start,
            sent=np.array(self._sent[:count], np.float64),
            ended=np.array(self._ended[:count], np.float64),
            status=status,
            kind=kind,
            attempts=np.array(self._attempts[:count], np.uint8),
            expected=expectation(self.plan, status, kind),
        )
