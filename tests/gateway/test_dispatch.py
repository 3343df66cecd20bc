"""Requests across the hop to fake workers: together where they can, each with its own fate."""

from __future__ import annotations

import asyncio
import time

import grpc
import pytest

from gateway.dispatch import RETURN_SECONDS
from gateway.slots import INFER
from inference_core import errors
from inference_core.deadline import Deadline
from inference_core.tensors import Arrays
from tests.gateway.fake_worker import Asked, FakeWorker, echo
from tests.gateway.hop import MODEL, class_of, hop, rows
from tests.waiting import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
STATUS = grpc.StatusCode


class Gate:
    """Holds calls until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = 0

    async def __call__(self, _: Asked) -> None:
        """Wait."""
        self.waiting += 1
        try:
            await self.opened.wait()
        finally:
            self.waiting -= 1


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


# Statuses


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


# Models and workers that are not there


async def test_an_unknown_model_gets_the_names_that_exist() -> None:
    """A 404 lists the models, and nothing is kept for a name that a client made up."""
    async with hop(FakeWorker(models={"b": 1, "a": 1})) as one:
        for name in ("x", "y", "late"):
            with pytest.raises(errors.UnknownModel, match="Models here: a, b"):
                await one.ask(1, model=name)
        assert one.dispatcher.queues == {}


async def test_without_a_worker_a_request_waits_until_its_deadline() -> None:
    """No worker in time is a 503; one that comes in time answers."""
    async with hop(FakeWorker(answer=echo), healthy=False) as one:
        started = time.monotonic()
        with pytest.raises(errors.NoWorker):
            await one.ask(1, seconds=0.2)
        assert 0.1 < time.monotonic() - started < 0.2
        asked = asyncio.create_task(one.ask(2))
        await one.running[0].tell(healthy=True)
        assert class_of(await asked) == 2


async def test_a_queue_outlives_all_workers() -> None:
    """While every worker is away requests wait; the first that comes back gets them as one batch."""
    async with hop(FakeWorker(answer=echo)) as one:
        await one.ask(0)
        one.running[0].line.cut()
        await one.ready(0)
        late = asyncio.create_task(one.ask(1, seconds=0.1))
        asked = asyncio.create_task(one.ask_all(10))
        with pytest.raises(errors.NoWorker):
            await late
        await one.running[0].line.open()
        assert await asked == list(range(10))
        assert len(one.fakes[0].calls[-1].values) == 10


# Deadlines and clients that leave


async def test_expired_work_is_never_sent() -> None:
    """A request that waited beyond its deadline gets its 504 in time and reaches no worker."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        first = asyncio.create_task(one.ask(0))
        await eventually(lambda: gate.waiting, "the first call")
        deadline = Deadline.after(0.1)
        with pytest.raises(errors.DeadlineExceeded):
            await one.ask(1, seconds=0.1)
        assert deadline.remaining() > 0
        gate.opened.set()
        await first
        await one.idle()
        assert [asked.values for asked in one.fakes[0].calls] == [[0]]


async def test_a_late_answer_is_a_504_before_the_deadline() -> None:
    """The answer to a missed deadline leaves before that deadline, and the call to the worker ends with it."""
    gate = Gate()
    async with hop(FakeWorker(before=gate)) as one:
        started = time.monotonic()
        with pytest.raises(errors.DeadlineExceeded):
            await one.ask(0, seconds=0.2)
        assert 0.2 - 2 * RETURN_SECONDS < time.monotonic() - started < 0.2
        await eventually(lambda: one.fakes[0].last.ended == "cancelled", "the end of the call")
        await one.idle()


async def test_a_deadline_crosses_as_the_longest_of_a_batch() -> None:
    """A neighbour with little time neither shortens the others' call nor gets more time itself."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        tasks = [asyncio.create_task(one.ask(value, seconds=seconds)) for value, seconds in ((0, 0.2), (1, 5.0))]
        await eventually(lambda: gate.waiting, "the call")
        assert (one.fakes[0].last.remaining or 0) > 4
        with pytest.raises(errors.DeadlineExceeded):
            await tasks[0]
        gate.opened.set()
        assert class_of(await tasks[1]) == 1


async def test_who_leaves_the_queue_is_never_sent() -> None:
    """A client that leaves while it waits is out at once."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        first = asyncio.create_task(one.ask(0))
        await eventually(lambda: gate.waiting, "the first call")
        tasks = [asyncio.create_task(one.ask(value)) for value in (1, 2, 3)]
        await eventually(lambda: one.dispatcher.queues[MODEL].batcher.queued_rows == 3, "the queue")
        tasks[1].cancel()
        await asyncio.wait([tasks[1]])
        assert one.dispatcher.queues[MODEL].batcher.queued_rows == 2
        gate.opened.set()
        await asyncio.gather(first, tasks[0], tasks[2])
        assert one.fakes[0].last.values == [1, 3]


async def test_the_last_who_leaves_ends_the_call() -> None:
    """A call goes on while anybody waits for it, and is cancelled at its worker with its last member."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate)) as one:
        tasks = [asyncio.create_task(one.ask(value)) for value in (1, 2)]
        await eventually(lambda: gate.waiting, "the call")
        tasks[0].cancel()
        await asyncio.wait([tasks[0]])
        assert gate.waiting == 1
        tasks[1].cancel()
        await eventually(lambda: one.fakes[0].last.ended == "cancelled", "the end of the call")
        await one.idle()


@pytest.mark.parametrize("turns", range(6))
async def test_leaving_at_any_moment_costs_no_place(turns: int) -> None:
    """A client that leaves while its batch is just being formed, sent or answered leaves its place free."""
    async with hop(FakeWorker(answer=echo), batches_in_flight=1) as one:
        await one.ask(0)
        for _ in range(5):
            task = asyncio.create_task(one.ask(1))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await one.idle()
        assert class_of(await one.ask(2)) == 2


async def test_closing_answers_everybody() -> None:
    """At the end what runs is answered and what waits gets an error; nothing is left."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        running = asyncio.create_task(one.ask(0))
        await eventually(lambda: gate.waiting, "the call")
        waiting = asyncio.create_task(one.ask(1))
        await asyncio.sleep(0)
        closing = asyncio.create_task(one.dispatcher.close())
        with pytest.raises(errors.InferenceHubError):
            await waiting
        gate.opened.set()
        await closing
        assert class_of(await running) == 0


# Traces


async def test_one_requests_trace_crosses_in_the_metadata() -> None:
    """A call of one request carries its traceparent, tracestate and id."""
    async with hop(FakeWorker(answer=echo)) as one:
        parent = f"00-{TRACE}-00f067aa0ba902b7-01"
        call = one.call(traceparent=parent, tracestate="a=b", request_id="order-66")
        await one.ask(1, call=call)
        (span,) = one.spans.named(INFER[1:])
        assert span.context is not None
        metadata = one.fakes[0].metadata
        assert metadata["traceparent"] == f"00-{TRACE}-{span.context.span_id:016x}-01"
        assert (metadata["tracestate"], metadata["x-request-id"]) == ("a=b", "order-66")


async def test_every_members_trace_crosses() -> None:
    """A call of several requests lists all of them in the order of their rows, kept or not."""
    gate = Gate()
    async with hop(FakeWorker(answer=echo, before=gate), batches_in_flight=1) as one:
        first = asyncio.create_task(one.ask(0))
        await eventually(lambda: gate.waiting, "the first call")
        parents = [f"00-{number:032x}-00f067aa0ba902b7-{number % 2:02}" for number in range(1, 5)]
        calls = [one.call(traceparent=parent) for parent in parents]
        tasks = [asyncio.create_task(one.ask(*[9] * rows_, call=call)) for rows_, call in enumerate(calls, 1)]
        await asyncio.sleep(0)
        gate.opened.set()
        await asyncio.gather(first, *tasks)
        members = one.fakes[0].last.members
        assert [(member.rows, member.request_id) for member in members] == list(
            enumerate([call.request_id for call in calls], 1)
        )
        assert [int(member.traceparent.split("-")[1], 16) for member in members] == [1, 2, 3, 4]
        assert [member.traceparent[-2:] for member in members] == ["01", "00", "01", "00"]
        spans = [f"{span.context.span_id:016x}" for span in one.spans.named(INFER[1:]) if span.context]
        assert {members[0].traceparent.split("-")[2], members[2].traceparent.split("-")[2]} <= set(spans)


@pytest.mark.parametrize("state", ["a=\xe4", "a=\t", "a=\x7f", "ä=b", "x" * 513])
async def test_a_tracestate_that_grpc_cannot_carry_harms_nobody(state: str) -> None:
    """What a client writes there is dropped where it could break the call of all its neighbours."""
    async with hop(FakeWorker(answer=echo)) as one:
        call = one.call(traceparent=f"00-{TRACE}-00f067aa0ba902b7-00", tracestate=state)
        assert class_of(await one.ask(1, call=call)) == 1
        assert "tracestate" not in one.fakes[0].metadata


async def test_each_attempt_has_a_span() -> None:
    """A request that was sent twice has two client spans, numbered, with slot and status, and one queue span."""
    fakes = [FakeWorker(answer=echo), FakeWorker(answer=echo)]
    async with hop(*fakes) as two:
        for number, fake in enumerate(fakes):

            async def die(_: Asked, number: int = number) -> None:
                two.running[number].line.cut()
                fakes[1 - number].before = quiet

            fake.before = die
        call = two.call()
        await two.ask(1, call=call)
        spans = two.spans.named(INFER[1:])
        attributes = [dict(span.attributes or {}) for span in spans]
        assert [found["app.attempt"] for found in attributes] == [1, 2]
        assert {found["app.worker.slot"] for found in attributes} == {0, 1}
        assert [found["rpc.status_code"] for found in attributes] == ["UNAVAILABLE", "OK"]
        assert len(two.spans.named("queue")) == 1
        assert call.attempts == 2


async def quiet(_: Asked) -> None:
    """Do nothing."""
