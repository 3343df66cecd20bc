"""Calls share a worker's compute threads: rows merge, failures do not spread, and nobody computes for nobody."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable

import numpy as np
import pytest
from grpc import StatusCode

from inference_core.admission import Limits
from inference_core.deadline import now
from inference_core.errors import InvalidInput
from inference_core.tensors import Arrays, read_tensors
from inference_pb import open_inference_pb2 as wire
from model_service.registry import LoadedModel
from tests.model_service.functions import classify
from tests.model_service.worker import Worker, end_of, infer_request, loaded, running_worker, runtime_of, until

BAD = -1.0


class Door:
    """A model that holds its first batch until it is opened, and refuses or fails on rows that hold BAD."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self._error = error

    def __call__(self, inputs: Arrays) -> Arrays:
        """Answer each row with its first number."""
        self.entered.set()
        assert self.open.wait(30)
        rows = inputs["features"]
        if self._error is not None and (rows == BAD).any():
            raise self._error
        return {"first": rows[:, 0].copy()}


def rows_of(*values: float, width: int = 3) -> wire.ModelInferRequest:
    """Return a request with a row for each value."""
    return infer_request("door", arrays={"features": np.array([[value] * width for value in values], np.float32)})


def first_of(answer: wire.ModelInferResponse) -> list[float]:
    """Return the numbers that an answer has."""
    numbers: list[float] = read_tensors(answer.outputs, answer.raw_output_contents)["first"].tolist()
    return numbers


def batches(model: LoadedModel) -> list[int]:
    """Return the rows of each batch that a model was asked for."""
    return [inputs["features"].shape[0] for inputs in runtime_of(model).asked]


async def behind(worker: Worker, door: Door, requests: Iterable[wire.ModelInferRequest]) -> list[object]:
    """Send requests while a first one holds the model, open the door, and return what each ended with."""
    first = worker.protocol.ModelInfer(rows_of(0))
    await until(door.entered.is_set)
    calls = []
    rows = 0
    for request in requests:
        calls.append(worker.protocol.ModelInfer(request))
        rows += request.inputs[0].shape[0]
        await until(lambda: worker.engine.rows_waiting("door") == rows)  # noqa: B023  # used before it changes
    door.open.set()
    await first
    return [first_of(await call) if await call.code() is StatusCode.OK else await end_of(call) for call in calls]


async def test_what_waits_is_computed_together() -> None:
    """Rows of calls that wait for a busy model leave as one batch, and each call gets its own back."""
    door = Door()
    model = loaded("door", door)
    async with running_worker(model) as worker:
        answers = await behind(worker, door, [rows_of(1), rows_of(2, 3), rows_of(4)])
    assert answers == [[1], [2, 3], [4]]
    assert batches(model) == [1, 4]


async def test_a_batch_has_no_more_rows_than_the_model_takes() -> None:
    """Batches end at max_batch_size; a call with more rows travels alone."""
    door = Door()
    model = loaded("door", door, max_batch_size=4)
    async with running_worker(model) as worker:
        sizes = [3, 1, 2, 9, 2, 2]
        answers = await behind(worker, door, [rows_of(*range(size)) for size in sizes])
    assert answers == [[*range(size)] for size in sizes]
    assert batches(model) == [1, 4, 2, 9, 4]


async def test_a_model_that_does_not_batch_sees_one_call_at_a_time() -> None:
    """With max_batch_size 1 rows of different calls never meet."""
    door = Door()
    model = loaded("door", door, max_batch_size=1)
    async with running_worker(model) as worker:
        assert await behind(worker, door, [rows_of(1), rows_of(2, 3), rows_of(4)]) == [[1], [2, 3], [4]]
    assert batches(model) == [1, 1, 2, 1]


async def test_rows_of_other_shapes_are_not_mixed() -> None:
    """Only rows of one shape share a batch."""
    door = Door()
    model = loaded("door", door)
    async with running_worker(model) as worker:
        requests = [rows_of(1), rows_of(2, width=5), rows_of(3), rows_of(4, width=5)]
        assert await behind(worker, door, requests) == [[1], [2], [3], [4]]
    assert sorted(batches(model)) == [1, 2, 2]


async def test_a_partial_batch_may_be_held() -> None:
    """With max_queue_delay an idle model waits for others that long, and no longer than until its batch is full."""
    door = Door()
    door.open.set()
    model = loaded("door", door, max_queue_delay=5.0, max_batch_size=3)
    async with running_worker(model) as worker:
        began = now()
        calls = [worker.protocol.ModelInfer(rows_of(value)) for value in (1, 2, 3)]
        assert [first_of(await call) for call in calls] == [[1], [2], [3]]
        assert now() - began < 4
    assert batches(model) == [3]


@pytest.mark.parametrize("error", [InvalidInput("Not that."), ValueError("secret"), MemoryError(), SystemExit(1)])
async def test_neighbours_survive_a_bad_row(error: BaseException) -> None:
    """A batch that fails is computed again call by call, and only the call whose rows fail does."""
    door = Door(error)
    model = loaded("door", door)
    async with running_worker(model) as worker:
        *good, bad = await behind(worker, door, [rows_of(1), rows_of(2, 3), rows_of(BAD)])
    refused = isinstance(error, InvalidInput)
    assert good == [[1], [2, 3]]
    assert bad == (
        (StatusCode.INVALID_ARGUMENT, "Not that.")
        if refused
        else (StatusCode.INTERNAL, "Model door failed on this input; the worker's log says why.")
    )
    assert batches(model) == [1, 4, 1, 2, 1]


async def test_rows_that_are_missing_are_nobodys_answer() -> None:
    """A model that answers with another number of rows fails, and no call gets another one's rows."""
    short = loaded("short", lambda inputs: {"y": inputs["features"][1:]})
    async with running_worker(short) as worker:
        status, sentence = await end_of(worker.protocol.ModelInfer(infer_request("short")))
    assert (status, sentence) == (StatusCode.INTERNAL, "The model answered 1 rows with an output y of shape [0, 3].")


async def test_who_leaves_a_running_batch_leaves_the_others_in_it() -> None:
    """A client that gives up while its rows are computed costs its neighbours nothing."""
    door = Door()
    async with running_worker(loaded("door", door, max_queue_delay=0.05)) as worker:
        staying, leaving = (worker.protocol.ModelInfer(rows_of(value)) for value in (1, 2))
        await until(door.entered.is_set)
        leaving.cancel()
        await worker.ended(1)
        door.open.set()
        assert first_of(await staying) == [1]


async def test_a_place_that_was_left_is_used_again() -> None:
    """When all callers of a batch have left, its thread takes the next batch once it is free, not before."""
    door = Door()
    model = loaded("door", door)
    async with running_worker(model) as worker:
        left = worker.protocol.ModelInfer(rows_of(1))
        await until(door.entered.is_set)
        left.cancel()
        await worker.ended(1)
        waiting = worker.protocol.ModelInfer(rows_of(2))
        await until(lambda: worker.engine.rows_waiting("door") == 1)
        assert batches(model) == [1]
        door.open.set()
        assert first_of(await waiting) == [2]


async def test_each_instance_computes_a_batch_of_its_own() -> None:
    """A model with two instances computes two batches at once."""
    both = threading.Barrier(2, timeout=20)

    def meet(inputs: Arrays) -> Arrays:
        both.wait()
        return classify(inputs)

    model = loaded("pair", meet, instances=2, max_batch_size=1)
    async with running_worker(model) as worker:
        calls = [worker.protocol.ModelInfer(infer_request("pair")) for _ in range(2)]
        assert [(await call).model_name for call in calls] == ["pair", "pair"]


async def test_a_busy_worker_says_so_and_that_nobody_should_repeat() -> None:
    """A call beyond the queue's bound ends at once with RESOURCE_EXHAUSTED, the reason, and no retries."""
    door = Door()
    async with running_worker(loaded("door", door), limits=Limits(2, 1 << 20, 0.1, sheds=True)) as worker:
        first = worker.protocol.ModelInfer(rows_of(0))
        await until(door.entered.is_set)
        waiting = worker.protocol.ModelInfer(rows_of(1, 2))
        await until(lambda: worker.engine.rows_waiting("door") == 2)
        refused = worker.protocol.ModelInfer(rows_of(3))
        status, sentence = await end_of(refused)
        trailer = dict(await refused.trailing_metadata())
        door.open.set()
        assert first_of(await first) + first_of(await waiting) == [0, 1, 2]
    assert (status, sentence) == (
        StatusCode.RESOURCE_EXHAUSTED,
        "Too many requests wait for this model; try again later.",
    )
    assert (trailer["grpc-retry-pushback-ms"], trailer["reason"]) == ("-1", "full")


async def test_a_standing_queue_sheds_what_waited_longest() -> None:
    """Under a queue that stands, the oldest calls are refused as such, the newest answered."""
    wait = threading.Event()

    def crawl(inputs: Arrays) -> Arrays:
        wait.wait(0.02)
        return {"first": inputs["features"][:, 0].copy()}

    limits = Limits(10_000, 1 << 30, 0.02, sheds=True)
    async with running_worker(loaded("door", crawl, max_batch_size=1), limits=limits) as worker:
        calls = [worker.protocol.ModelInfer(rows_of(value)) for value in range(60)]
        ends = await asyncio.gather(*(call.code() for call in calls))
        reasons = {dict(await call.trailing_metadata()).get("reason") for call in calls}
    assert set(ends) == {StatusCode.OK, StatusCode.RESOURCE_EXHAUSTED}
    assert "standing" in reasons


async def test_a_thread_finds_its_next_full_batch_waiting() -> None:
    """While a thread computes, the next full batch is with it already; what is not full waits for more."""
    door = Door()
    model = loaded("door", door, max_batch_size=2)
    async with running_worker(model) as worker:
        submitted = model.threads[0]._jobs.qsize
        first = worker.protocol.ModelInfer(rows_of(0))
        await until(door.entered.is_set)
        calls = [worker.protocol.ModelInfer(rows_of(1))]
        await until(lambda: worker.engine.rows_waiting("door") == 1)
        assert submitted() == 0
        calls.append(worker.protocol.ModelInfer(rows_of(2)))
        await until(lambda: submitted() == 1)
        door.open.set()
        assert [first_of(await call) for call in (first, *calls)] == [[0], [1], [2]]
    assert batches(model) == [1, 2]
