"""An event loop whose clock jumps: what takes an hour on the clock takes no time, and every run is the same.

Nothing is mocked but the clock: tasks, futures and timers are asyncio's own. When no callback is ready, the clock moves
to the next timer; when there is no timer either, whoever waits would wait for ever, and that fails the test.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar
from unittest import mock

T = TypeVar("T")
P = ParamSpec("P")
CLOCKS = ("inference_core.deadline.now", "inference_core.batching.now", "inference_core.expiry.now")
START = 1000.0
CLOCK_STEP = 1e-9  # a sum of floats may fall short of the timer, and then nothing would move any more


class _JumpingSelector(selectors.SelectSelector):
    """Moves the clock instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.time = START
        self.before_jump: Callable[[], None] = lambda: None

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise AssertionError("Nothing is ready and no timer runs: somebody waits for ever.")
        if timeout > 0:
            self.before_jump()
            self.time += timeout + CLOCK_STEP
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Use it through `virtual_time`."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._jumping.time

    def before_jump(self, check: Callable[[], None]) -> None:
        """Have a function called whenever everything that is ready has run and the clock is about to move."""
        self._jumping.before_jump = check

    def run(self, awaitable: Awaitable[T]) -> T:
        """Run until that is done; an error that would only have been logged is raised."""
        unnoticed: list[dict[str, Any]] = []
        self.set_exception_handler(lambda _, context: unnoticed.append(context))
        try:
            return self.run_until_complete(awaitable)
        finally:
            self.run_until_complete(_end_others())
            assert unnoticed == [], unnoticed


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def virtual_time() -> Iterator[VirtualTimeLoop]:
    """Give a loop on whose clock the modules of the Batcher run."""
    loop = VirtualTimeLoop()
    patches = [mock.patch(clock, loop.time) for clock in CLOCKS]
    for patch in patches:
        patch.start()
    try:
        yield loop
    finally:
        for patch in patches:
            patch.stop()
        loop.close()


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run a coroutine test in a loop of its own whose clock jumps."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with virtual_time() as loop:
            loop.run(test(*args, **kwargs))

    return run
