"""One attempt: the traces of all its requests cross the hop, and each attempt shows."""

from __future__ import annotations

import asyncio

import pytest

from inference_core.names import INFER
from tests.gateway.fake_worker import Asked, FakeWorker, echo
from tests.gateway.gate import Gate
from tests.gateway.hop import class_of, hop
from tests.waiting import eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def test_one_requests_trace_crosses_in_the_metadata() -> None:
    """A call of one request carries its traceparent, tracestate and id."""
    async with hop(FakeWorker(answer=echo)) as one:
        parent = f"00-{TRACE}-00f067aa0ba902b7-01"
        call = one.call(traceparent=parent, tracestate="a=b", request_id="order-66")
        await one.ask(1, call=call)
        (span,) = one.spans.named(INFER)
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
        spans = [f"{span.context.span_id:016x}" for span in one.spans.named(INFER) if span.context]
        assert {members[0].traceparent.split("-")[2], members[2].traceparent.split("-")[2]} <= set(spans)


@pytest.mark.parametrize("state", ["a=\xe4", "a=\t", "a=\x7f", "ä=b", "x" * 513])
async def test_a_tracestate_that_grpc_cannot_carry_harms_nobody(state: str) -> None:
    """What a client writes there is dropped where it could break the call of all its neighbours."""
    async with hop(FakeWorker(answer=echo)) as one:
        call = one.call(traceparent=f"00-{TRACE}-00f067aa0ba902b7-00", tracestate=state)
        assert class_of(await one.ask(1, call=call)) == 1
        assert "tracestate" not in one.fakes[0].metadata


async def test_each_attempt_has_a_span() -> None:
    """A request that was sent twice has two client spans, numbered, with slot and status, and waited before each."""
    fakes = [FakeWorker(answer=echo), FakeWorker(answer=echo)]
    async with hop(*fakes) as two:
        for number, fake in enumerate(fakes):

            async def die(_: Asked, number: int = number) -> None:
                two.running[number].line.cut()
                fakes[1 - number].before = quiet

            fake.before = die
        call = two.call()
        await two.ask(1, call=call)
        spans = two.spans.named(INFER)
        attributes = [dict(span.attributes or {}) for span in spans]
        assert [found["app.attempt"] for found in attributes] == [1, 2]
        assert {found["app.worker.slot"] for found in attributes} == {0, 1}
        assert [found["rpc.status_code"] for found in attributes] == ["UNAVAILABLE", "OK"]
        assert len(two.spans.named("queue")) == 2
        assert call.attempts == 2


async def quiet(_: Asked) -> None:
    """Do nothing."""
