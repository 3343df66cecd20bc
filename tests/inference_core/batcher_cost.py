"""What one request costs in a Batcher, beside a bare future and task: `python -m tests.inference_core.batcher_cost`.

Prints microseconds of CPU per request for CLIENTS concurrent requests: the median of ROUNDS rounds, on asyncio and on
uvloop.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import uvloop

from inference_core.admission import Admission, Limits
from inference_core.batching import Batch, Batcher, Consumers, Entry
from inference_core.deadline import Deadline
from inference_core.errors import DeadlineExceeded
from inference_core.lanes import Lanes
from inference_core.tensors import Arrays

CLIENTS = 200
ROUNDS = 400
WARM_UP = 40
MAX_ROWS = 64
INPUTS: Arrays = {"features": np.zeros((1, 4), np.float32)}


class Trivial(Consumers[int]):
    """Two places that answer at once."""

    def __init__(self) -> None:
        self.idle = 2
        self.batcher: Batcher[int]

    def claim(self, *, alone: bool) -> int | None:
        """Take a place."""
        if not self.idle:
            return None
        self.idle -= 1
        return 1

    def release(self, place: int) -> None:
        """Give it back."""
        self.idle += 1

    async def run(self, place: int, batch: Batch) -> None:
        """Answer everything with None, one turn of the loop later."""
        await asyncio.sleep(0)
        for entry in batch.entries:
            self.batcher.resolve(entry, None)


async def bare_round() -> None:
    """Let CLIENTS tasks wait for a future each, all resolved together."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Any]] = []

    async def client() -> None:
        future = loop.create_future()
        futures.append(future)
        await future

    tasks = [asyncio.ensure_future(client()) for _ in range(CLIENTS)]
    await asyncio.sleep(0)
    for future in futures:
        future.set_result(None)
    await asyncio.wait(tasks)


def batched_round() -> Callable[[], Awaitable[None]]:
    """Return a round in which CLIENTS tasks send one request each through a Batcher."""
    consumers = Trivial()
    admission = Admission(Limits(8192, 1 << 28, 0.1))
    batcher: Batcher[int] = Batcher(consumers, admission, Lanes(MAX_ROWS), lambda _: DeadlineExceeded("Late."))
    consumers.batcher = batcher

    async def client() -> None:
        await batcher.answer(Entry("key", INPUTS, Deadline.after(5.0)))

    async def one_round() -> None:
        await asyncio.wait([asyncio.ensure_future(client()) for _ in range(CLIENTS)])

    return one_round


async def microseconds(one_round: Callable[[], Awaitable[None]]) -> float:
    """Return the median cost of a request."""
    costs = []
    for number in range(WARM_UP + ROUNDS):
        started = time.process_time()
        await one_round()
        if number >= WARM_UP:
            costs.append((time.process_time() - started) / CLIENTS * 1e6)
    return statistics.median(costs)


async def measure(loop: str) -> None:
    """Print one line."""
    bare = await microseconds(bare_round)
    batched = await microseconds(batched_round())
    print(f"{loop:8} bare {bare:5.1f}   batched {batched:5.1f}   difference {batched - bare:5.1f} us per request")  # noqa: T201  # the program's output


if __name__ == "__main__":
    asyncio.run(measure("asyncio"))
    uvloop.run(measure("uvloop"))
