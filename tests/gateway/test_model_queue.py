"""What travels together across the hop, and what a worker's status means for each request of a batch."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from inference_core import errors
from inference_core.tensors import Arrays
from tests.gateway.fake_worker import Asked, FakeWorker, echo
from tests.gateway.gate import Gate
from tests.gateway.hop import MODEL, class_of, hop, rows
from tests.waiting import eventually

STATUS = grpc.StatusCode


async def test_an_idle_worker_gets_a_request_at_once() -> None:
    """One request is one call of one row, and its answer names model and version."""
    async with hop(FakeWorker(answer=echo)) as one:
        answer = await one.ask(3)
        assert (class_of(answer), answer.model, answer.version) == (3, MODEL, "3")
        (asked,) = one.fakes[0].calls
        assert (asked.values, asked.members) == ([3], [])
        await one.idle()


async def test_what_waits_beside_each_other_travels_together() -> None:
    """While all places are taken the queue is the next batch, up to the model's largest, and every row finds home."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate, models={MODEL: 8})) as one:
        first = [asyncio.create_task(one.ask(value)) for value in (100, 101)]
        await eventually(lambda: gate.waiting, "the first call")
        rest = asyncio.create_task(one.ask_all(20))
        await asyncio.sleep(0)
        gate.opened.set()
        assert await rest == list(range(20))
        assert [class_of(answer) for answer in await asyncio.gather(*first)] == [100, 101]
        sizes = [len(asked.values) for asked in one.fakes[0].calls]
        assert max(sizes) == 8
        assert sum(sizes) == 22
        await one.idle()


async def test_rows_are_counted_not_requests() -> None:
    """A request of several rows keeps them together, and one that is larger than a batch travels alone."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate, models={MODEL: 4}), batches_in_flight=1) as one:
        first = asyncio.create_task(one.ask(0))
        await eventually(lambda: gate.waiting, "the first call")
        shapes = ([1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [11, 12])
        asked = [asyncio.create_task(one.ask(*values)) for values in shapes]
        await asyncio.sleep(0)
        gate.opened.set()
        answers = await asyncio.gather(*asked)
        assert [answer.outputs["class_id"].tolist() for answer in answers] == list(shapes)
        assert [call.values for call in one.fakes[0].calls[1:]] == [[1, 2, 3, 4], shapes[2], shapes[3]]
        await first


async def test_other_signatures_and_other_models_never_meet() -> None:
    """Only rows of one shape, type and model share a call."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        first = asyncio.create_task(one.ask(0))
        await eventually(lambda: gate.waiting, "the first call")
        wide: Arrays = {"features": rows(1)["features"].repeat(2, axis=1)}
        double: Arrays = {"features": rows(2)["features"].astype("<f8")}
        asked = [one.dispatcher.infer(MODEL, inputs, one.call()) for inputs in (rows(0), wide, double)]
        tasks = [asyncio.create_task(request) for request in (*asked, one.ask(3, model="v1-mock"))]
        await asyncio.sleep(0)
        gate.opened.set()
        answers = await asyncio.gather(*tasks)
        assert [class_of(answer) for answer in answers] == [0, 1, 2, 3]
        assert [len(call.values) for call in one.fakes[0].calls] == [1] * 5
        await first


@pytest.mark.parametrize("places", [1, 3])
async def test_a_worker_has_only_so_many_batches(places: int) -> None:
    """`batches_in_flight` bounds what one worker runs of one model, and the idlest worker is taken first."""
    gate = Gate()
    two = (FakeWorker(answer=echo, before=gate, models={MODEL: 1}), FakeWorker(answer=echo, models={MODEL: 1}))
    two[1].before = gate
    async with hop(*two, batches_in_flight=places) as both:
        asked = asyncio.create_task(both.ask_all(20))
        await eventually(lambda: gate.waiting == 2 * places, "filling all places")
        assert [fake.busy for fake in two] == [places, places]
        gate.opened.set()
        assert await asked == list(range(20))
        assert [fake.busiest for fake in two] == [places, places]
        await both.idle()


async def test_one_slow_model_holds_up_no_other() -> None:
    """While one model's places are all taken, another one's requests pass."""
    gate = Gate()

    async def slow(asked: Asked) -> None:
        if asked.values[0] >= 1000:
            await gate(asked)

    async with hop(FakeWorker(answer=echo, before=slow)) as one:
        waiting = asyncio.create_task(one.ask_all(50, first=1000))
        await eventually(lambda: gate.waiting, "the slow calls")
        assert class_of(await one.ask(5, model="v1-mock")) == 5
        gate.opened.set()
        assert await waiting == list(range(1000, 1050))


ALL_FAIL = [
    (STATUS.INVALID_ARGUMENT, errors.InvalidInput),
    (STATUS.NOT_FOUND, errors.UnknownModel),
    (STATUS.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
    (STATUS.INTERNAL, errors.ModelFailed),
    (STATUS.UNKNOWN, errors.ModelFailed),
    (STATUS.UNAVAILABLE, errors.NoWorker),
    (STATUS.CANCELLED, errors.NoWorker),
    (STATUS.DATA_LOSS, errors.ModelFailed),
    (STATUS.RESOURCE_EXHAUSTED, errors.InputTooLarge),
]


@pytest.mark.parametrize(("status", "kind"), ALL_FAIL)
async def test_a_status_of_a_worker_is_an_error_for_each_request(
    status: STATUS, kind: type[errors.InferenceHubError]
) -> None:
    """Of one request and of many together: the same error for each, and every place is free again."""
    async with hop(FakeWorker(status=status)) as one:
        for count in (1, 7):
            found = await one.ask_all(count)
            assert [type(error) for error in found] == [kind] * count
        await one.idle()


@pytest.mark.parametrize(
    "status", [STATUS.INVALID_ARGUMENT, STATUS.INTERNAL, STATUS.UNKNOWN, STATUS.RESOURCE_EXHAUSTED]
)
async def test_neighbours_of_a_bad_request_get_their_answers(status: STATUS) -> None:
    """A batch that its worker refuses is halved until the bad one is alone with its error."""
    bad = {5, 11}
    fake = FakeWorker(answer=echo, failing=lambda asked: status if bad & set(asked.values) else None)
    async with hop(fake, batches_in_flight=1) as one:
        found = await one.ask_all(16)
        assert {value for value, answer in enumerate(found) if answer != value} == bad
        assert all(isinstance(found[value], errors.InferenceHubError) for value in bad)
        await one.idle()


async def test_what_is_wrong_with_all_of_a_batch_is_asked_once() -> None:
    """Inputs that are not the model's, of which a batch has one kind only, are refused together, at once."""
    async with hop(FakeWorker(status=STATUS.INVALID_ARGUMENT, reason=errors.WrongSignature.reason)) as one:
        found = await one.ask_all(9)
        assert [type(error) for error in found] == [errors.InvalidInput] * 9
        assert sum(len(asked.values) for asked in one.fakes[0].calls) == 9


async def test_a_busy_worker_says_why() -> None:
    """RESOURCE_EXHAUSTED with a reason is an overload with that reason for all, and is not tried again."""
    async with hop(FakeWorker(status=STATUS.RESOURCE_EXHAUSTED, reason="deadline")) as one:
        found = await one.ask_all(5)
        assert [(type(error), getattr(error, "reason", "")) for error in found] == [(errors.Overloaded, "deadline")] * 5
        assert sum(len(asked.values) for asked in one.fakes[0].calls) == 5


async def test_a_worker_that_says_unavailable_is_asked_three_times_in_all() -> None:
    """What a living worker says itself is no death: a few attempts, no suspicion against the input."""
    fake = FakeWorker(answer=echo, status=STATUS.UNAVAILABLE)
    async with hop(fake) as one:
        assert isinstance((await one.ask_all(1))[0], errors.NoWorker)
        assert [asked.alone for asked in fake.calls] == [""] * 3
        fake.status = None
        assert await one.ask_all(1) == [0]


async def test_an_answer_that_cannot_be_read_is_the_workers_fault() -> None:
    """Too few rows, or an output twice: a failed model for whoever caused it, an answer for the neighbours."""

    def short(model: str, inputs: Arrays) -> Arrays:
        outputs = echo(model, inputs)
        return {name: array[outputs["class_id"] != 3] for name, array in outputs.items()}

    async with hop(FakeWorker(answer=short), batches_in_flight=1) as one:
        found = await one.ask_all(8)
        assert [answer for answer in found if isinstance(answer, int)] == [0, 1, 2, 4, 5, 6, 7]
        assert isinstance(found[3], errors.ModelFailed)
        await one.idle()


async def test_a_request_that_is_too_large_for_the_wire_is_told_so() -> None:
    """What gRPC itself refuses to send is a 413 for that request, not for its neighbours."""
    async with hop(FakeWorker(answer=echo)) as one:
        wide: Arrays = {"features": rows(0)["features"].repeat(200_000, axis=1)}
        huge = one.dispatcher.infer(MODEL, wide, one.call())
        found = await asyncio.gather(huge, one.ask(1), return_exceptions=True)
        assert isinstance(found[0], errors.InputTooLarge)
        assert not isinstance(found[1], BaseException)
