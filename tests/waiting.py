"""Waiting for a condition, the only way tests wait."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
INTERVAL_SECONDS = 0.05
ASYNC_INTERVAL_SECONDS = 0.005


def wait_for(condition: Callable[[], T], what: str, seconds: float = 15.0, interval: float = INTERVAL_SECONDS) -> T:
    """Return the condition's first true value; fail with `what` when there is none in time."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        pause.wait(interval)
    raise AssertionError(f"{what} did not happen within {seconds} s")


async def eventually(condition: Callable[[], T], what: str, seconds: float = 15.0) -> T:
    """As `wait_for`, while the event loop turns."""

    async def ask() -> T:
        return condition()

    return await eventually_answers(ask, what, seconds)


async def eventually_answers(condition: Callable[[], Awaitable[T]], what: str, seconds: float = 15.0) -> T:
    """As `eventually`, for a condition that is a coroutine function."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := await condition():
            return value
        await asyncio.sleep(ASYNC_INTERVAL_SECONDS)
    raise AssertionError(f"{what} did not happen within {seconds} s")
