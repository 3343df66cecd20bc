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
    assert len(worker.spans.get_finished_spans()) == 5  # the batch has one, too
    assert [span.context.trace_id for span in servers] == [1, 3]
    assert [span.parent.span_id for span in servers if span.parent] == [1, 3]
    assert [span.parent.span_id for span in computes if span.parent] == [span.context.span_id for span in servers]
    told = [attributes(span) for span in computes]
    assert len({(each.pop("app.batch.id"), each.pop("app.batch.trace_id")) for each in told}) == 1
    assert told == [
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


async def test_a_batch_and_its_requests_link_to_each_other() -> None:
    """The batch has a trace of its own, with a link to each kept request's computation, and these link back."""
    members = [member(number, kept=number != 2) for number in (1, 2, 3)]
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(request_of(*members), metadata=metadata_of(members[0]))
    computes, (batch,) = named(worker, "compute"), named(worker, "batch double")
    assert batch.parent is None
    assert batch.context.trace_id not in {1, 2, 3}
    assert [link.context.span_id for link in batch.links] == [span.context.span_id for span in computes]
    assert [(link.attributes or {})["app.batch.index"] for link in batch.links] == [0, 2]
    assert [[link.context for link in span.links] for span in computes] == [[batch.context], [batch.context]]
    assert (batch.start_time, batch.end_time) == (computes[0].start_time, computes[0].end_time)
    assert attributes(batch)["app.batch.id"] == attributes(computes[0])["app.batch.id"]
    assert attributes(batch)["app.batch.size"] == 3


async def test_a_lonely_request_is_its_own_batch() -> None:
    """A batch of one request has no trace of its own."""
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(request_of(member(1, kept=True)), metadata=metadata_of(member(1, kept=True)))
    assert named(worker, "batch double") == []


async def test_a_call_that_fails_is_kept_with_all_its_requests() -> None:
    """Nobody asked for the traces of a call that failed; they are there all the same, below their callers."""
    members = [member(number, kept=False) for number in (1, 2)]

    def fail(_: Any) -> Any:
        raise ValueError

    async with running_worker(loaded("m", fail)) as worker:
        status, _ = await end_of(
            worker.protocol.ModelInfer(request_of(*members, model="m"), metadata=metadata_of(members[0]))
        )
        await worker.ended(1)
    servers = named(worker, INFER)
    assert status is StatusCode.INTERNAL
    assert [(span.context.trace_id, span.parent and span.parent.span_id) for span in servers] == [(1, 1), (2, 2)]
    assert [attributes(span)["app.kept"] for span in servers] == ["failed", "failed"]
    assert [attributes(span)["app.request.id"] for span in servers] == ["request-1", "request-2"]
    assert [attributes(span)["error.type"] for span in named(worker, "compute")] == ["ValueError", "ValueError"]


@pytest.mark.parametrize("of_a_gateway", [True, False])
async def test_a_slow_call_of_a_direct_client_is_kept(of_a_gateway: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """Of a gateway's call the gateway decides, by the times in the answer; of a direct client's the worker."""
    metadata = metadata_of(member(1, kept=False)) if of_a_gateway else ()
    async with running_worker(traces=0, slow_seconds=1e-9) as worker:
        response = await worker.protocol.ModelInfer(infer_request(), metadata=metadata)
    assert [attributes(span)["app.kept"] for span in named(worker, INFER)] == ([] if of_a_gateway else ["slow"])
    assert response.parameters["computing_at_us"].int64_param > 0


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
