"""Waiting for a condition, the only way tests wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
INTERVAL_SECONDS = 0.05


def wait_for(condition: Callable[[], T], what: str, seconds: float = 15.0) -> T:
    """Return the condition's first true value; fail with `what` when there is none in time."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        pause.wait(INTERVAL_SECONDS)
    raise AssertionError(f"{what} did not happen within {seconds} s")
