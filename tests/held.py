"""Whether memory is let go of without a garbage collection, which an idle process never has."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Awaitable, Callable

from tests.waiting import eventually

TIMES = 10


async def assert_let_go(work: Callable[[], Awaitable[None]], held_bytes: int) -> None:
    """Do work again and again, and see that not even half of the bytes that each time has is still held."""
    await work()
    gc.disable()
    tracemalloc.start()
    try:
        for _ in range(TIMES):
            await work()
        await eventually(lambda: tracemalloc.get_traced_memory()[0] < held_bytes * TIMES // 2, "the memory's return")
    finally:
        tracemalloc.stop()
        gc.enable()
