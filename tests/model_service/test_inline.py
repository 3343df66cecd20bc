"""A model computes on the event loop only while it is surely quick, and leaves it for long once it was not."""

from __future__ import annotations

import asyncio
import gc
import threading
import time

import numpy as np
import pytest

from inference_core.deadline import Deadline, now
from inference_core.errors import DeadlineExceeded, ModelFailed
from inference_core.tensors import Arrays
from model_service.engine import Engine
from model_service.inline import (
    COLLECTIONS,
    FIRST_PENALTY_SECONDS,
    HELD_SHARE,
    MOST_HELD_SECONDS,
    NEEDED,
    InlineSwitch,
    Stopwatch,
)
from tests.model_service.functions import classify
from tests.model_service.worker import Options, call_to, engine_of, loaded, registry_of, runtime_of

LIMIT = 0.001
QUICK, SLOW, BLOCKING = LIMIT / 2, LIMIT * 5, LIMIT + MOST_HELD_SECONDS * 1.01


def switched_on(size: int = 100) -> InlineSwitch:
    """Return a switch that has seen enough quick computations."""
    switch = InlineSwitch(LIMIT)
    for _ in range(NEEDED):
        switch.note(size, QUICK, 0.0, on_loop=False)
    return switch


def test_it_takes_many_quick_computations_in_a_row() -> None:
    """One slow computation in a thread begins the count anew."""
    switch = InlineSwitch(LIMIT)
    for _ in range(NEEDED - 1):
        switch.note(100, QUICK, 0.0, on_loop=False)
    switch.note(100, SLOW, 0.0, on_loop=False)
    for _ in range(NEEDED - 1):
        switch.note(100, QUICK, 0.0, on_loop=False)
    assert not switch.is_on
    switch.note(100, QUICK, 0.0, on_loop=False)
    assert switch.is_on


def test_only_inputs_like_those_before_are_computed_there() -> None:
    """Inputs much larger than those that were quick go to a thread, and may join once they were quick there."""
    switch = switched_on(100)
    assert (switch.allows(200), switch.allows(201)) == (True, False)
    switch.note(1000, QUICK, 0.0, on_loop=False)
    assert switch.allows(2000)


def test_blocking_the_loop_once_is_remembered_for_long() -> None:
    """A model that blocked the loop is not back before its penalty is over, and the next one is twice as long."""
    switch = switched_on()
    switch.note(100, BLOCKING, 0.0, on_loop=True)
    assert not switch.is_on
    for penalty in (FIRST_PENALTY_SECONDS, 2 * FIRST_PENALTY_SECONDS):
        for _ in range(10 * NEEDED):
            switch.note(100, QUICK, penalty - 1.0, on_loop=False)
        assert not switch.is_on
        for _ in range(NEEDED):
            switch.note(100, QUICK, penalty, on_loop=False)
        assert switch.is_on
        switch.note(100, BLOCKING, 0.0, on_loop=True)


@pytest.mark.parametrize(("share", "stays"), [(HELD_SHARE / 2, True), (HELD_SHARE * 2, False)])
def test_holding_the_loop_up_is_let_pass_while_it_is_rare(share: float, stays: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """A model may exceed its limit for a small share of the time; beyond that it is sent back to its threads."""
    switch = switched_on()
    for second in range(1, 100):
        switch.note(100, LIMIT + share, float(second), on_loop=True)
    assert switch.is_on is stays


def test_a_limit_of_zero_means_never() -> None:
    """With `inline_seconds = 0` nothing is quick enough."""
    switch = InlineSwitch(0.0)
    for _ in range(10 * NEEDED):
        switch.note(0, 1e-9, 0.0, on_loop=False)
    assert not switch.is_on


@pytest.mark.parametrize(("only_computes", "on_loop", "is_slow"), [(False, True, True), (True, True, False)])
def test_waiting_is_slow_unless_it_can_only_be_for_the_lock(
    only_computes: bool,  # noqa: FBT001  # a parameter of the test
    on_loop: bool,  # noqa: FBT001  # the same
    is_slow: bool,  # noqa: FBT001  # the same
) -> None:
    """A thread that gave the processor away to wait is as slow as the clock says; one that cannot wait is not."""
    watch = Stopwatch()
    threading.Event().wait(0.02)
    judged = watch.judged(0.02, LIMIT, only_computes=only_computes, on_loop=on_loop)
    assert (judged == 0.02) is is_slow


@pytest.mark.parametrize(("work", "is_slow"), [(0.0, False), (5 * LIMIT, True)])
def test_a_collection_is_not_the_models_fault(work: float, is_slow: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """Of a computation into which a garbage collection fell the rest counts, and nothing but the rest."""
    callbacks, gc.callbacks[:] = gc.callbacks[:], [COLLECTIONS]
    try:
        watch = Stopwatch()
        gc.collect()
        until = time.thread_time() + work
        while time.thread_time() < until:
            pass
        judged = watch.judged(now() - watch.started_at, LIMIT, only_computes=True, on_loop=True)
        assert (judged > LIMIT) is is_slow
    finally:
        gc.callbacks[:] = callbacks


class Chameleon:
    """A model that is quick until it is told to sleep, and remembers in which threads it ran."""

    def __init__(self) -> None:
        self.sleeps = False
        self.threads: list[threading.Thread] = []

    def __call__(self, inputs: Arrays) -> Arrays:
        """Answer as `classify`."""
        self.threads.append(threading.current_thread())
        if self.sleeps:
            time.sleep(0.2)
        return classify(inputs)


async def ask(engine: Engine, times: int) -> None:
    """Ask the model `m` for one row, again and again."""
    for _ in range(times):
        await engine.infer("m", "", {"features": np.zeros((1, 3), np.float32)}, Deadline.after(30), call_to())


async def test_a_quick_model_moves_to_the_loop_and_a_blocking_one_back() -> None:
    """After enough quick computations a model runs in the loop's thread; the first that blocks is the last there."""
    chameleon = Chameleon()
    registry = registry_of([loaded("m", chameleon)])
    engine = engine_of(registry, Options(inline_seconds=0.01))
    await ask(engine, NEEDED + 5)
    loop_thread = threading.current_thread()
    assert chameleon.threads[0] is not loop_thread
    assert chameleon.threads[-1] is loop_thread
    chameleon.sleeps = True
    await ask(engine, 1)
    chameleon.sleeps = False
    await ask(engine, NEEDED + 5)
    assert all(thread is not loop_thread for thread in chameleon.threads[-NEEDED - 5 :])
    await engine.close()
    registry.close()


async def test_calls_that_are_ready_together_share_a_batch_there_too() -> None:
    """Of calls that arrive at once for a model on the loop the first is computed at once, the others together."""
    model = loaded("m")
    registry = registry_of([model])
    engine = engine_of(registry, Options(inline_seconds=0.01))
    await ask(engine, NEEDED + 5)
    asked = runtime_of(model).asked
    del asked[:]
    await asyncio.gather(*(ask(engine, 1) for _ in range(3)))
    assert [inputs["features"].shape[0] for inputs in asked] == [1, 2]
    await engine.close()
    registry.close()


async def test_failures_on_the_loop_are_told_as_in_threads() -> None:
    """What a model on the loop raises becomes the same error, and the model goes on."""

    def refuse_some(inputs: Arrays) -> Arrays:
        if inputs["features"][0, 0]:
            raise ValueError
        return classify(inputs)

    registry = registry_of([loaded("m", refuse_some)])
    engine = engine_of(registry, Options(inline_seconds=0.01))
    await ask(engine, NEEDED + 5)
    for deadline, error in ((30.0, ModelFailed), (0.0, DeadlineExceeded)):
        with pytest.raises(error):
            await engine.infer("m", "", {"features": np.ones((1, 3), np.float32)}, Deadline.after(deadline), call_to())
    await ask(engine, 1)
    await engine.close()
    registry.close()


async def test_a_model_can_be_kept_off_the_loop() -> None:
    """`inline = false` in model.toml keeps even the quickest model in its threads."""
    chameleon = Chameleon()
    registry = registry_of([loaded("m", chameleon, inline=False)])
    engine = engine_of(registry, Options(inline_seconds=0.01))
    await ask(engine, 3 * NEEDED)
    assert threading.current_thread() not in chameleon.threads
    await engine.close()
    registry.close()
