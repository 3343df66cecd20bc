"""What is kept of a call: a span for each request whose trace is kept, and lines up to a rate."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import format_span_id, format_trace_id

from inference_core.members import PARAMETER, Member, to_text
from inference_pb import open_inference_pb2 as wire
from model_service.call import LONGEST_MEMBERS, SHOWN_IDS
from tests.model_service.worker import Gate, Worker, end_of, infer_request, loaded, models, running_worker, until

INFER = "inference.GRPCInferenceService/ModelInfer"


def member(number: int, *, kept: bool) -> Member:
    """Return the request of that number, from 1, with one row."""
    return Member(1, f"request-{number}", f"00-{number:032x}-{number:016x}-{'01' if kept else '00'}")


def request_of(*members: Member, model: str = "double") -> wire.ModelInferRequest:
    """Return a call that is made of these requests."""
    request = infer_request(model, arrays={"features": np.ones((len(members), 3), np.float32)})
    request.parameters[PARAMETER].string_param = to_text(members)
    return request


def metadata_of(first: Member) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call whose first request this is."""
    return (("traceparent", first.traceparent), ("x-request-id", first.request_id))


def named(worker: Worker, name: str) -> list[ReadableSpan]:
    """Return the finished spans of that name, by trace."""
    spans = [span for span in worker.spans.get_finished_spans() if span.name == name]
    return sorted(spans, key=lambda span: span.context.trace_id)


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Return a span's attributes."""
    return dict(span.attributes or {})


async def test_each_kept_request_of_a_call_has_its_spans() -> None:
    """Requests whose traces are kept have server and compute spans below their own callers; the others have none."""
    members = [member(number, kept=number in {1, 3}) for number in (1, 2, 3)]
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(request_of(*members), metadata=metadata_of(members[0]))
        servers, computes = named(worker, INFER), named(worker, "compute")
        assert len(worker.spans.get_finished_spans()) == 4
    assert [span.context.trace_id for span in servers] == [1, 3]
    assert [span.parent.span_id for span in servers if span.parent] == [1, 3]
    assert [span.parent.span_id for span in computes if span.parent] == [span.context.span_id for span in servers]
    assert [attributes(span) for span in computes] == [
        {
            "app.model.name": "double",
            "app.model.version": "1",
            "app.batch.rows": 3,
            "app.batch.size": 3,
            "app.batch.index": index,
            "app.batch.reason": "idle",
        }
        for index in (0, 2)
    ]
    assert [attributes(span)["rpc.response.status_code"] for span in servers] == ["OK", "OK"]


async def test_a_first_request_that_is_not_kept_hides_no_other() -> None:
    """A call whose own metadata is not sampled still has the spans of its other requests."""
    members = [member(1, kept=False), member(2, kept=True)]
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(request_of(*members), metadata=metadata_of(members[0]))
        assert [span.context.trace_id for span in named(worker, INFER)] == [2]


async def test_what_is_not_kept_has_no_span() -> None:
    """Without a sampled flag nothing is recorded at all."""
    members = [member(number, kept=False) for number in (1, 2, 3)]
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(request_of(*members), metadata=metadata_of(members[0]))
        assert worker.spans.get_finished_spans() == ()


async def test_waiting_is_a_span_and_the_stages_follow_each_other() -> None:
    """A request that found its model busy has a queue span up to its compute span, both within its server span."""
    gate = Gate()
    async with running_worker(loaded("slow", gate)) as worker:
        first = worker.protocol.ModelInfer(infer_request("slow"), metadata=metadata_of(member(1, kept=True)))
        await gate.wait_entered()
        second = worker.protocol.ModelInfer(infer_request("slow"), metadata=metadata_of(member(2, kept=True)))
        await until(lambda: worker.engine.rows_waiting("slow") == 1)
        gate.leave.set()
        await first
        await second
        (queue,) = named(worker, "queue")
        compute, server = named(worker, "compute")[1], named(worker, INFER)[1]
    assert {span.context.trace_id for span in (queue, compute, server)} == {2}
    times = [server.start_time, queue.start_time, queue.end_time, compute.start_time, compute.end_time, server.end_time]
    known = [time for time in times if time is not None]
    slack = 200_000  # two clocks are read for each conversion
    assert len(known) == 6
    assert all(later >= earlier - slack for earlier, later in itertools.pairwise(known))


async def test_requests_that_share_a_batch_know_their_place_in_it() -> None:
    """Indexes count through all calls of a batch, and its size is the number of requests, not of calls."""
    gate = Gate()
    async with running_worker(loaded("slow", gate)) as worker:
        first = worker.protocol.ModelInfer(infer_request("slow"))
        await gate.wait_entered()
        one = request_of(member(1, kept=True), member(2, kept=True), model="slow")
        other = request_of(member(3, kept=True), member(4, kept=True), model="slow")
        calls = [worker.protocol.ModelInfer(one, metadata=metadata_of(member(1, kept=True)))]
        await until(lambda: worker.engine.rows_waiting("slow") == 2)
        calls.append(worker.protocol.ModelInfer(other, metadata=metadata_of(member(3, kept=True))))
        await until(lambda: worker.engine.rows_waiting("slow") == 4)
        gate.leave.set()
        for call in (first, *calls):
            await call
        computes = [attributes(span) for span in named(worker, "compute") if span.context.trace_id <= 4]
    assert [(each["app.batch.index"], each["app.batch.size"]) for each in computes] == [(n, 4) for n in range(4)]


async def test_a_line_lists_the_requests_of_its_call() -> None:
    """The line of a call with several requests has their number and the first of their ids."""
    members = [member(number, kept=False) for number in range(1, SHOWN_IDS + 9)]
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(request_of(*members), metadata=metadata_of(members[0]))
        (line,) = worker.calls()
    assert (line["requests"], line["request_id"]) == (len(members), "request-1")
    assert line["request_ids"] == [each.request_id for each in members[:SHOWN_IDS]]
    assert line["trace_ids"] == [each.traceparent[3:35] for each in members[:SHOWN_IDS]]


@pytest.mark.parametrize(
    "text", [";;;", "1,a b,x;1,c", "1,a,00-zz-01;" * 9, "x" * (LONGEST_MEMBERS + 1), ";" * 100_000]
)
async def test_a_list_of_requests_that_is_none_is_no_fault(text: str) -> None:
    """Whatever the parameter holds, the call is answered and logged once."""
    request = infer_request()
    request.parameters[PARAMETER].string_param = text
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(request)
        assert len(worker.calls()) == 1


async def test_lines_of_good_calls_have_a_rate_and_failures_none() -> None:
    """Beyond the rate calls that went well are only counted; each failure has its line."""
    async with running_worker(*models(), lines=2) as worker:
        for _ in range(10):
            await worker.protocol.ModelInfer(infer_request())
            await end_of(worker.protocol.ModelInfer(infer_request("nobody")))
        await until(lambda: any(line["event"] == "calls not logged" for line in worker.logged))
        statuses = [line["status"] for line in worker.calls()]
        sums = [line for line in worker.logged if line["event"] == "calls not logged"]
    assert statuses.count("NOT_FOUND") == 10
    assert statuses.count("OK") + sums[0]["count"] == 10
    assert 2 <= statuses.count("OK") < 10
    assert sums[0].keys() == {"event", "count", "log_level"}


async def test_a_models_own_lines_carry_the_ids_of_its_calls() -> None:
    """What fails in a call that is kept is logged under the span of that call."""

    def fail(_: Any) -> Any:
        raise ValueError

    async with running_worker(loaded("m", fail)) as worker:
        status, _ = await end_of(
            worker.protocol.ModelInfer(infer_request("m"), metadata=metadata_of(member(7, kept=True)))
        )
        await worker.ended(1)
        failure = next(line for line in worker.logged if line["event"] == "model failed")
        (server,) = named(worker, INFER)
    assert status is StatusCode.INTERNAL
    assert failure["request_id"] == "request-7"
    assert failure["trace_id"] == format_trace_id(7)
    assert failure["span_id"] == format_span_id(server.context.span_id)
