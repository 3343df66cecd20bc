"""The border of a worker: one span, one log line and one honest status for each call."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from opentelemetry import trace
from opentelemetry.trace import SpanKind

from inference_core import errors
from inference_core.errors import InferenceHubError, InvalidInput
from inference_core.names import is_request_id
from inference_core.tensors import Arrays
from inference_pb import open_inference_pb2 as wire
from model_service.border import PROBES, STATUS, status_of, status_of_cancellation
from model_service.call_spans import FAILURES
from tests.model_service.worker import Gate, end_of, infer_request, loaded, running_worker

INFER = "/inference.GRPCInferenceService/ModelInfer"
PREDICT = "/ModelInference/Predict"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


def classes(root: type[InferenceHubError] = InferenceHubError) -> list[type[InferenceHubError]]:
    """Return a class and everything below it."""
    return [root, *(found for child in root.__subclasses__() for found in classes(child))]


def raising(error: BaseException) -> Any:
    """Return a model's function that raises."""

    def predict(_: Arrays) -> Arrays:
        raise error

    return predict


@pytest.mark.parametrize("kind", [kind for kind in classes() if kind is not InferenceHubError])
def test_every_expected_error_has_a_status(kind: type[InferenceHubError]) -> None:
    """The table covers the whole tree of errors, by the class itself or the nearest above it."""
    nearest = next(ancestor for ancestor in kind.__mro__ if ancestor in STATUS)
    assert status_of(kind("A sentence.")) is STATUS[nearest]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (errors.InvalidInput("x"), StatusCode.INVALID_ARGUMENT),
        (errors.InputTooLarge("x"), StatusCode.INVALID_ARGUMENT),
        (errors.WrongSignature("x"), StatusCode.INVALID_ARGUMENT),
        (errors.UnknownModel("x"), StatusCode.NOT_FOUND),
        (errors.Overloaded("x"), StatusCode.RESOURCE_EXHAUSTED),
        (errors.NoWorker("x"), StatusCode.UNAVAILABLE),
        (errors.DeadlineExceeded("x"), StatusCode.DEADLINE_EXCEEDED),
        (errors.ModelFailed("x"), StatusCode.INTERNAL),
        (ValueError("x"), StatusCode.INTERNAL),
    ],
)
def test_an_error_has_its_status(error: Exception, status: StatusCode) -> None:
    """What the client did wrong, what may be tried again and what failed are told apart."""
    assert status_of(error) is status
    refusals = {StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND, StatusCode.RESOURCE_EXHAUSTED}
    assert (status in FAILURES) == (status not in refusals)


@pytest.mark.parametrize(
    ("remaining", "status"),
    [
        (0.0, StatusCode.DEADLINE_EXCEEDED),
        (0.01, StatusCode.DEADLINE_EXCEEDED),
        (1.0, StatusCode.CANCELLED),
        (None, StatusCode.CANCELLED),
    ],
)
def test_a_cancellation_at_the_deadline_is_the_deadlines(remaining: float | None, status: StatusCode) -> None:
    """A call that is cancelled as its deadline passes ran out of time; before that its client gave up."""
    assert status_of_cancellation(remaining) is status


async def test_a_call_is_one_line_with_its_ids() -> None:
    """A call is logged once, with method, status, time, request id, trace id, model and version."""
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(infer_request(), metadata=(("x-request-id", "abc-1"), ("traceparent", PARENT)))
    (line,) = worker.logged
    assert line.pop("milliseconds") >= 0
    assert len(line.pop("span_id")) == 16
    assert datetime.fromisoformat(line.pop("timestamp")).tzinfo is not None
    assert line == {
        "event": "call",
        "log_level": "info",
        "method": INFER[1:],
        "status": "OK",
        "request_id": "abc-1",
        "trace_id": TRACE_ID,
        "model": "double",
        "version": "1",
    }


async def test_a_refused_call_is_one_line_with_the_reason() -> None:
    """A refused call is logged once, with its status and the sentence that the client got."""
    async with running_worker() as worker:
        status, sentence = await end_of(worker.protocol.ModelInfer(infer_request("nobody")))
        (line,) = await worker.ended(1)
    assert status is StatusCode.NOT_FOUND
    assert (line["event"], line["status"], line["error"]) == ("call", "NOT_FOUND", sentence)


@pytest.mark.parametrize(
    "offered",
    [["x" * 5000], ['"},{"level":"x'], ["a b"], [""], [], ["one", "two"], ["../x"]],
    ids=["long", "JSON", "space", "empty", "none", "two", "path"],
)
async def test_a_bad_request_id_is_replaced(offered: list[str]) -> None:
    """A request id that is not one of ours to log is replaced by one that is."""
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(infer_request(), metadata=[("x-request-id", value) for value in offered])
    (line,) = worker.calls()
    assert is_request_id(line["request_id"])
    assert line["request_id"] not in offered


async def test_the_servers_span_continues_the_callers() -> None:
    """The span of a call is a child of the caller's span, and the computation is a child of it."""
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(infer_request(), metadata=[("traceparent", PARENT)])
    compute, server = worker.spans.get_finished_spans()
    assert (server.name, server.kind) == (INFER[1:], SpanKind.SERVER)
    assert server.parent is not None
    assert server.parent.span_id == int(PARENT[36:52], 16)
    assert compute.parent is not None
    assert compute.parent.span_id == server.context.span_id
    assert {compute.context.trace_id, server.context.trace_id} == {int(TRACE_ID, 16)}
    assert (server.attributes or {})["rpc.status_code"] == "OK"


@pytest.mark.parametrize("traceparents", [[], [PARENT.upper()], [f"ff{PARENT[2:]}"], ["0" * 5000]])
async def test_a_bad_traceparent_is_ignored(traceparents: list[str]) -> None:
    """Without one valid traceparent a call is the root of a new trace, and is answered all the same."""
    async with running_worker() as worker:
        await worker.protocol.ModelInfer(infer_request(), metadata=[("traceparent", value) for value in traceparents])
    _, server = worker.spans.get_finished_spans()
    assert server.parent is None
    assert trace.format_trace_id(server.context.trace_id) != TRACE_ID


async def test_a_failing_model_is_an_internal_error() -> None:
    """A model that raises ends the call with INTERNAL and a fixed sentence; the log has the exception."""
    async with running_worker(loaded("m", raising(ValueError("secret")))) as worker:
        status, sentence = await end_of(worker.protocol.ModelInfer(infer_request("m")))
        await worker.ended(1)
        failure, call = worker.logged
        server = worker.spans.get_finished_spans()[1]
    assert (status, sentence) == (StatusCode.INTERNAL, "Model m failed on this input; the worker's log says why.")
    assert (failure["event"], type(failure["exc_info"])) == ("model failed", ValueError)
    assert (failure["trace_id"], failure["request_id"]) == (call["trace_id"], call["request_id"])
    assert (server.attributes or {})["error.type"] == "INTERNAL"
    assert "secret" not in repr(call)


async def test_an_unexpected_error_is_a_fixed_sentence_with_the_trace() -> None:
    """An error nobody expected tells the client nothing but the trace under which the log has it."""
    async with running_worker(loaded("m", lambda _: {"y": np.array(["secret"], object)})) as worker:
        status, sentence = await end_of(worker.protocol.ModelInfer(infer_request("m")))
        await worker.ended(1)
        unexpected, call = worker.logged
    expected = f"Unexpected error in the worker; its log has the details under trace {call['trace_id']}."
    assert (status, sentence) == (StatusCode.INTERNAL, expected)
    assert (unexpected["event"], type(unexpected["exc_info"])) == ("unexpected error", TypeError)
    assert (call["status"], "error" in call) == ("INTERNAL", False)


async def test_a_model_that_exits_does_not_end_the_worker() -> None:
    """A model that calls exit() fails its own call, and the next one is answered."""
    async with running_worker(loaded("m", raising(SystemExit(0))), loaded("well")) as worker:
        status, _ = await end_of(worker.protocol.ModelInfer(infer_request("m")))
        assert status is StatusCode.INTERNAL
        assert (await worker.protocol.ModelInfer(infer_request("well"))).model_name == "well"


async def test_probes_leave_no_trace() -> None:
    """Probes, health and reflection are answered without a span and without a log line."""
    async with running_worker() as worker:
        await worker.protocol.ServerLive(wire.ServerLiveRequest())
        await worker.protocol.ServerReady(wire.ServerReadyRequest())
        await worker.protocol.ModelReady(wire.ModelReadyRequest(name="double"))
        await worker.protocol.RepositoryIndex(wire.RepositoryIndexRequest())
        await worker.probe.Check(health_pb2.HealthCheckRequest())
    assert worker.logged == []
    assert worker.spans.get_finished_spans() == ()
    service = wire.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert {probe.rpartition("/")[2] for probe in PROBES} <= {method.name for method in service.methods}


async def test_watching_health_works_through_the_border() -> None:
    """A Watch of a service's health tells of the change when the worker drains."""
    async with running_worker() as worker:
        watch = worker.probe.Watch(health_pb2.HealthCheckRequest(service="inference.GRPCInferenceService"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        await worker.health.draining()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()


async def test_calls_at_once_keep_their_own_ids() -> None:
    """Two calls at once keep their own ids: what one binds to its log lines never shows in the other's."""
    gate = Gate()
    async with running_worker(loaded("slow", gate), loaded("m", raising(InvalidInput("No.")))) as worker:
        slow = worker.protocol.ModelInfer(infer_request("slow"), metadata=(("x-request-id", "slow"),))
        await gate.wait_entered()
        await end_of(worker.protocol.ModelInfer(infer_request("m"), metadata=(("x-request-id", "quick"),)))
        await worker.ended(1)
        gate.leave.set()
        await slow
        lines = [(line["request_id"], line["model"], line["status"]) for line in await worker.ended(2)]
    assert lines == [("quick", "m", "INVALID_ARGUMENT"), ("slow", "slow", "OK")]


async def test_what_gateways_ask_every_second_is_told_only_when_it_fails() -> None:
    """ModelConfig leaves a line where it names no model, and none where it is answered."""
    async with running_worker(loaded("m", lambda inputs: inputs)) as worker:
        await worker.protocol.ModelConfig(wire.ModelConfigRequest(name="m"))
        await end_of(worker.protocol.ModelConfig(wire.ModelConfigRequest(name="nobody")))
        assert [line["status"] for line in await worker.ended(1)] == ["NOT_FOUND"]
