"""Mirrored requests: nobody waits for them, and their answers are compared."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import numpy as np
import pytest

from gateway.call import Call
from gateway.shadow import MOST_WAITING, Shadow, difference
from inference_core.inference import Inference
from inference_core.tensors import Array, Arrays
from tests.gateway.fake_worker import Asked, FakeWorker, echo
from tests.gateway.gate import Gate
from tests.gateway.hop import MODEL, Hop, hop, rows
from tests.waiting import eventually

BOTH = {MODEL: ("1", "2")}


@asynccontextmanager
async def shadowed(fake: FakeWorker, in_flight: int = 4) -> AsyncIterator[tuple[Hop, Shadow]]:
    """Mirror to a fake worker with two versions."""
    fake.versions = dict(BOTH)
    async with hop(fake) as one:
        shadow = Shadow(one.dispatcher, one.dispatcher.tally, in_flight, one.dispatcher.is_busy)
        try:
            yield one, shadow
        finally:
            await shadow.close()


async def mirrored(one: Hop, shadow: Shadow, value: float) -> Inference:
    """Ask version 1 and mirror the request to version 2."""
    call = one.call()
    asked = one.dispatcher.ask(MODEL, rows(value), call, "1")
    asked.future.add_done_callback(lambda future: shadow.mirror(rows(value), "2", call, future))
    return await asked.future


def outcomes(one: Hop) -> dict[str, int]:
    """Return how many mirrored requests had which outcome."""
    metrics = one.dispatcher.tally._metrics.shadows
    found = [sample for metric in metrics.collect() for sample in metric.samples if sample.name.endswith("_total")]
    counts: Counter[str] = Counter()
    for sample in found:
        counts[sample.labels["outcome"]] += int(sample.value)
    return dict(counts)


async def test_an_answer_is_compared_after_it_left() -> None:
    """The other version sees the same inputs in the class that gives way, under the request's own trace."""
    async with shadowed(FakeWorker(answer=echo)) as (one, shadow):
        await one.dispatcher.prepare(MODEL, "1", one.call().deadline)
        await mirrored(one, shadow, 5)
        assert [asked.version for asked in one.fakes[0].calls] == ["1"]
        await eventually(lambda: outcomes(one) == {"agreed": 1}, "the comparison")
        first, second = one.fakes[0].calls
        assert (second.version, second.values) == ("2", first.values)
        assert str(second.metadata["x-request-id"]) == str(first.metadata["x-request-id"]) + ".shadow"
        assert str(second.metadata["traceparent"])[3:35] == str(first.metadata["traceparent"])[3:35]


async def test_a_difference_is_counted() -> None:
    """A version that answers otherwise differs, by as much as it does."""

    def answer(model: str, inputs: Arrays) -> Arrays:
        outputs = echo(model, inputs)
        return {**outputs, "class_id": outputs["class_id"] + len(one.fakes[0].calls) - 1}

    async with shadowed(FakeWorker(answer=answer)) as (one, shadow):
        await one.dispatcher.prepare(MODEL, "1", one.call().deadline)
        await mirrored(one, shadow, 5)
        await eventually(lambda: outcomes(one) == {"differed": 1}, "the comparison")
        (metric,) = one.dispatcher.tally._metrics.shadow_difference.collect()
        assert next(sample.value for sample in metric.samples if sample.name.endswith("_sum")) == 1.0


async def test_a_shadow_that_fails_or_is_nowhere_fails_nobody() -> None:
    """Its errors are counted and go no further."""

    def failing(asked: Asked) -> grpc.StatusCode | None:
        return grpc.StatusCode.INTERNAL if asked.version == "2" else None

    async with shadowed(FakeWorker(answer=echo, failing=failing)) as (one, shadow):
        await one.dispatcher.prepare(MODEL, "1", one.call().deadline)
        assert (await mirrored(one, shadow, 5)).version == "1"
        await eventually(lambda: outcomes(one) == {"failed": 1}, "the failure")
        call = one.call()
        asked = one.dispatcher.ask(MODEL, rows(1), call, "1")
        await asked.future
        shadow.mirror(rows(1), "3", call, asked.future)
        await eventually(lambda: outcomes(one) == {"failed": 2}, "the failure")


async def test_nothing_is_mirrored_while_there_is_work() -> None:
    """While a request waits or is under way its model's shadows wait, and those that waited too long are dropped."""
    gate = Gate()
    async with shadowed(FakeWorker(answer=echo)) as (one, shadow):
        await one.dispatcher.prepare(MODEL, "1", one.call().deadline)
        await one.ask(0, version="1")
        one.fakes[0].before = gate
        held = asyncio.create_task(one.ask(0, version="1"))
        await eventually(lambda: gate.waiting, "the held call")
        answered: asyncio.Future[Inference] = asyncio.get_running_loop().create_future()
        answered.set_result(Inference(MODEL, "1", echo(MODEL, rows(1))))
        for _ in range(MOST_WAITING + 3):
            shadow.mirror(rows(1), "2", one.call(), answered)
        assert outcomes(one) == {"dropped": 3}
        await eventually(lambda: outcomes(one) == {"dropped": MOST_WAITING + 3}, "impatience")
        assert len(one.fakes[0].calls) == 2
        gate.opened.set()
        await held


async def test_only_so_many_are_under_way() -> None:
    """At most `in_flight` mirrored requests are with workers at once; all of them come to their turn."""
    gate = Gate()
    async with shadowed(FakeWorker(answer=echo, before=gate), in_flight=3) as (one, shadow):
        answered: asyncio.Future[Inference] = asyncio.get_running_loop().create_future()
        answered.set_result(Inference(MODEL, "1", echo(MODEL, rows(1))))
        for _ in range(10):
            shadow.mirror(rows(1), "2", one.call(), answered)
        await eventually(lambda: gate.waiting, "a call")
        assert sum(len(asked.values) for asked in one.fakes[0].calls) == 3
        gate.opened.set()
        await eventually(lambda: outcomes(one) == {"agreed": 10}, "all comparisons")


async def test_closing_gives_up_what_is_mirrored() -> None:
    """At the end of the process nobody waits for a shadow, and no task is left."""
    gate = Gate()
    async with shadowed(FakeWorker(answer=echo, before=gate)) as (one, shadow):
        answered: asyncio.Future[Inference] = asyncio.get_running_loop().create_future()
        answered.set_result(Inference(MODEL, "1", echo(MODEL, rows(1))))
        shadow.mirror(rows(1), "2", one.call(), answered)
        await eventually(lambda: gate.waiting, "the call")
        await shadow.close()
        await eventually(lambda: one.fakes[0].last.ended == "cancelled", "the end of the call")


async def test_who_failed_or_left_is_not_mirrored() -> None:
    """There is nothing to compare with."""
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[Inference] = loop.create_future()
    failed.set_exception(ZeroDivisionError())
    left: asyncio.Future[Inference] = loop.create_future()
    left.cancel()
    async with shadowed(FakeWorker()) as (one, shadow):
        call: Call = one.call()
        shadow.mirror(rows(1), "2", call, failed)
        shadow.mirror(rows(1), "2", call, left)
        assert not shadow._waiting


@pytest.mark.parametrize(
    ("ours", "theirs", "agree", "most"),
    [
        (np.array([1.0, 2.0], "<f4"), np.array([1.0, 2.0005], "<f4"), True, 0.0005),
        (np.array([1.0]), np.array([1.5]), False, 0.5),
        (np.array([1], "<i4"), np.array([4], "<i4"), False, 3.0),
        (np.array([3], "<u8"), np.array([1], "<u8"), False, 2.0),
        (np.array([b"a"], object), np.array([b"a"], object), True, 0.0),
        (np.array([b"a"], object), np.array([b"b"], object), False, 0.0),
        (np.array([np.nan]), np.array([np.nan]), True, 0.0),
        (np.array([np.inf]), np.array([np.inf]), True, 0.0),
        (np.array([np.nan]), np.array([1.0]), False, math.inf),
        (np.array([1.0]), np.array([1.0, 1.0]), False, math.inf),
        (np.array([]), np.array([]), True, 0.0),
        (np.array([1], "<i4"), np.array([1.0]), True, 0.0),
    ],
)
def test_differences(ours: Array, theirs: Array, agree: bool, most: float) -> None:  # noqa: FBT001  # a column of a table
    """Rounding is none; classes and texts have to be equal; shapes, too."""
    found = difference({"x": ours}, {"x": theirs})
    assert found.agree is agree
    assert found.most == pytest.approx(most, rel=1e-3)


def test_answers_agree_where_their_decisions_do() -> None:
    """Another confidence in the same class is a difference of numbers and no disagreement; another class is one."""
    ours: Arrays = {"class_id": np.array([3], "<i4"), "confidence": np.array([0.9], "<f4")}
    found = difference(ours, {"class_id": np.array([3], "<i4"), "confidence": np.array([0.6], "<f4")})
    assert (found.agree, round(found.most, 3)) == (True, 0.3)
    assert not difference(ours, {**ours, "class_id": np.array([4], "<i4")}).agree


def test_other_outputs_are_a_difference() -> None:
    """A version that answers with other names agrees with nobody."""
    assert not difference({"x": np.array([1.0])}, {"y": np.array([1.0])}).agree
