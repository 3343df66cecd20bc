"""The gRPC door of the gateway: the same models, ids, traces, limits and errors as over HTTP."""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from structlog.testing import capture_logs

from gateway.front_door_border import STATUS, status_of
from inference_core import errors
from inference_core.names import INFER_PATH
from inference_core.tensors import Array, read_tensors, write_inputs, write_outputs
from inference_pb import open_inference_pb2 as wire
from tests.gateway.test_app import kinds
from tests.gateway.v2_system import LIMIT, Hub, hub
from tests.held import assert_let_go
from tests.waiting import eventually

X = np.array([[0.5, 1.5, 2.5]], "<f4")
HELD = 100_000
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def system() -> AsyncIterator[Hub]:
    """Serve one worker that answers with its inputs."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        async with hub(Path(folder), workers=1) as running:
            yield running


def request_for(array: Array = X, model: str = "embedder", **fields: Any) -> wire.ModelInferRequest:
    """Return a raw request."""
    request = wire.ModelInferRequest(model_name=model, **fields)
    write_inputs(request, {"x": array})
    return request


async def infer(system: Hub, request: wire.ModelInferRequest, **more: Any) -> wire.ModelInferResponse:
    """Ask."""
    answer: wire.ModelInferResponse = await system.call("ModelInfer", request, wire.ModelInferResponse, **more)
    return answer


def test_every_expected_error_has_a_status() -> None:
    """The table covers the whole tree."""
    below = [kind for kind in kinds(errors.InferenceHubError) if kind is not errors.InferenceHubError]
    assert len(below) > len(STATUS)
    assert StatusCode.OK not in {status_of(kind("A sentence.")) for kind in below}
    assert status_of(errors.Overloaded("Full.")) is StatusCode.UNAVAILABLE


async def test_raw_is_answered_raw(system: Hub) -> None:
    """The array crosses both ways, with id, model and version."""
    answer = await infer(system, request_for(id="a b", model_version="1"))
    assert (answer.model_name, answer.model_version, answer.id) == ("embedder", "1", "a b")
    assert read_tensors(answer.outputs, answer.raw_output_contents)["x"].tolist() == X.tolist()
    assert not answer.outputs[0].HasField("contents")


async def test_typed_is_answered_typed(system: Hub) -> None:
    """Nothing raw comes back to who sent nothing raw."""
    like = wire.ModelInferResponse()
    write_outputs(like, {"x": X}, raw=False)
    request = wire.ModelInferRequest(model_name="embedder")
    request.inputs.add(name="x", datatype="FP32", shape=X.shape, contents=like.outputs[0].contents)
    answer = await infer(system, request)
    assert list(answer.outputs[0].contents.fp32_contents) == [0.5, 1.5, 2.5]
    assert not answer.raw_output_contents


async def test_classes_are_asked_for(system: Hub) -> None:
    """The classification extension works here, too."""
    request = request_for()
    request.outputs.add(name="x").parameters["classification"].int64_param = 1
    answer = await infer(system, request)
    assert read_tensors(answer.outputs, answer.raw_output_contents)["x"].tolist() == [[b"2.500000:2"]]


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"model_name": "nope"}, StatusCode.NOT_FOUND, "tiny"),
        ({"model_name": "../x"}, StatusCode.NOT_FOUND, "no model"),
        ({"model_version": "9"}, StatusCode.NOT_FOUND, "version"),
        ({"raw_input_contents": [b"123"]}, StatusCode.INVALID_ARGUMENT, "12 bytes"),
        ({"outputs": [{"name": "y"}]}, StatusCode.INVALID_ARGUMENT, "outputs are x"),
        ({"outputs": [{"name": "x"}, {"name": "x"}]}, StatusCode.INVALID_ARGUMENT, "once"),
        ({"parameters": {"sequence_id": {"int64_param": 1}}}, StatusCode.UNIMPLEMENTED, "sequence_id"),
        ({"parameters": {"timeout": {"string_param": "1"}}}, StatusCode.INVALID_ARGUMENT, "timeout"),
    ],
)
async def test_what_cannot_be_done_is_said(system: Hub, change: dict[str, Any], status: StatusCode, word: str) -> None:
    """With the status that Triton's clients expect, and a sentence."""
    request = request_for()
    for name in change:
        request.ClearField(name)
    request.MergeFrom(wire.ModelInferRequest(**change))
    with pytest.raises(grpc.aio.AioRpcError, match=word) as caught:
        await infer(system, request)
    assert caught.value.code() is status


WORKERS = [
    (StatusCode.RESOURCE_EXHAUSTED, "full", StatusCode.UNAVAILABLE),
    (StatusCode.INTERNAL, "", StatusCode.INTERNAL),
    (StatusCode.INVALID_ARGUMENT, "", StatusCode.INVALID_ARGUMENT),
]


@pytest.mark.parametrize(("status", "reason", "expected"), WORKERS)
async def test_a_workers_status_is_tritons(system: Hub, status: StatusCode, reason: str, expected: StatusCode) -> None:
    """A full queue is UNAVAILABLE at this door."""
    system.workers[0].status, system.workers[0].reason = status, reason
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(system, request_for())
    assert caught.value.code() is expected


async def test_the_callers_ids_cross_and_are_logged(system: Hub) -> None:
    """One line with method, route, model, status and the ids; the worker gets the same ids."""
    metadata = (("x-request-id", "order-66"), ("traceparent", f"00-{TRACE}-00f067aa0ba902b7-00"))
    with capture_logs() as lines:
        await infer(system, request_for(), metadata=metadata)
        await eventually(lambda: any(line.get("request_id") == "order-66" for line in lines), "the line")
    (line,) = [line for line in lines if line.get("request_id") == "order-66"]
    assert (line["method"], line["route"]) == ("gRPC", "inference.GRPCInferenceService/ModelInfer")
    assert (line["request_id"], line["trace_id"], line["status"], line["model"]) == (
        "order-66",
        TRACE,
        200,
        "embedder",
    )
    assert system.workers[0].metadata["x-request-id"] == "order-66"
    assert str(system.workers[0].metadata["traceparent"]).split("-")[1] == TRACE


async def test_a_name_that_a_client_made_up_is_no_label(system: Hub) -> None:
    """What there is no model for is logged without one, as it would make series without end."""
    with capture_logs() as lines, pytest.raises(grpc.aio.AioRpcError):
        await infer(system, request_for(model="nope"))
    assert [(line["status"], line.get("model")) for line in lines if line["event"] == "request"] == [(404, None)]


async def test_the_callers_deadline_travels(system: Hub) -> None:
    """What is left of it bounds the call to the worker, and a later one than the gateway's is cut to that."""
    call = system.channel.unary_unary(
        INFER_PATH, wire.ModelInferRequest.SerializeToString, wire.ModelInferResponse.FromString
    )
    await call(request_for(), timeout=1.0)
    await infer(system, request_for())
    short, long = [call.remaining for call in system.workers[0].calls]
    assert short is not None
    assert long is not None
    assert 0.5 < short < 1.1
    assert 1.5 < long < 2.1


async def test_a_missed_deadline_is_said_before_it(system: Hub) -> None:
    """DEADLINE_EXCEEDED comes from here, with a sentence."""

    async def hold(_: object) -> None:
        await asyncio.Event().wait()

    system.workers[0].before = hold
    call = system.channel.unary_unary(
        INFER_PATH, wire.ModelInferRequest.SerializeToString, wire.ModelInferResponse.FromString
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(request_for(), timeout=0.2)
    assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED


async def test_a_client_that_leaves_ends_its_work(system: Hub) -> None:
    """The call to the worker is cancelled."""
    arrived = asyncio.Event()

    async def hold(_: object) -> None:
        arrived.set()
        await asyncio.Event().wait()

    system.workers[0].before = hold
    task = asyncio.create_task(infer(system, request_for()))
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: system.workers[0].last.ended == "cancelled", "the end of the call")


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_messages_are_bounded(system: Hub, compression: grpc.Compression) -> None:
    """One that is larger than a body may be is refused, also where it was smaller on its way; the next is answered."""
    large = np.zeros((1, LIMIT), "<f4")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(system, request_for(large), compression=compression)
    assert caught.value.code() is StatusCode.RESOURCE_EXHAUSTED
    assert (await infer(system, request_for())).model_name == "embedder"


async def test_junk_is_no_message(system: Hub) -> None:
    """INVALID_ARGUMENT, not an error of the gateway's."""
    call: Any = system.channel.unary_unary(INFER_PATH)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\xff\xff\xff", timeout=5)
    assert caught.value.code() is StatusCode.INVALID_ARGUMENT


async def test_what_nobody_foresaw_shows_nothing(system: Hub) -> None:
    """INTERNAL and a fixed sentence with the trace id."""
    system.workers[0].answer = lambda *_: {"x": np.array([[1j]])}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await infer(system, request_for())
    assert caught.value.code() in {StatusCode.INTERNAL, StatusCode.UNKNOWN}


async def test_the_models_are_described(system: Hub) -> None:
    """Live, ready, metadata, configuration, statistics, index, load and unload answer as over REST."""
    assert (await system.call("ServerLive", wire.ServerLiveRequest(), wire.ServerLiveResponse)).live
    assert (await system.call("ServerReady", wire.ServerReadyRequest(), wire.ServerReadyResponse)).ready
    ready = wire.ModelReadyRequest(name="tiny")
    assert (await system.call("ModelReady", ready, wire.ModelReadyResponse)).ready
    nope = wire.ModelReadyRequest(name="nope")
    assert not (await system.call("ModelReady", nope, wire.ModelReadyResponse)).ready
    server = await system.call("ServerMetadata", wire.ServerMetadataRequest(), wire.ServerMetadataResponse)
    assert "statistics" in server.extensions
    metadata = wire.ModelMetadataRequest(name="tiny")
    assert (await system.call("ModelMetadata", metadata, wire.ModelMetadataResponse)).platform == "fake"
    config = wire.ModelConfigRequest(name="tiny")
    assert (await system.call("ModelConfig", config, wire.ModelConfigResponse)).config.max_batch_size == 64
    statistics = await system.call("ModelStatistics", wire.ModelStatisticsRequest(), wire.ModelStatisticsResponse)
    assert statistics.model_stats[0].inference_count == 1
    index = await system.call("RepositoryIndex", wire.RepositoryIndexRequest(), wire.RepositoryIndexResponse)
    assert "late" in {model.name for model in index.models}
    load = wire.RepositoryModelLoadRequest(model_name="tiny")
    await system.call("RepositoryModelLoad", load, wire.RepositoryModelLoadResponse)
    unload = wire.RepositoryModelUnloadRequest(model_name="tiny")
    await system.call("RepositoryModelUnload", unload, wire.RepositoryModelUnloadResponse)
    assert system.workers[0].done == ["load tiny", "unload tiny"]


async def test_health_follows_the_workers(system: Hub) -> None:
    """SERVING while some worker takes work, NOT_SERVING without."""
    watch = system.channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        health_pb2.HealthCheckRequest.SerializeToString,
        health_pb2.HealthCheckResponse.FromString,
    )(health_pb2.HealthCheckRequest(), timeout=5)
    seen = aiter(watch)
    assert (await anext(seen)).status == SERVING
    system.running[0].line.cut()
    assert (await anext(seen)).status == NOT_SERVING


async def test_reflection_lists_the_service(system: Hub) -> None:
    """Grpcurl can explore the door."""
    method = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
    request = reflection_pb2.ServerReflectionRequest
    ask = system.channel.stream_stream(
        method, request.SerializeToString, reflection_pb2.ServerReflectionResponse.FromString
    )
    answer = await anext(aiter(ask(iter([request(list_services="")]), timeout=5)))
    names = {service.name for service in answer.list_services_response.service}
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= names


async def test_an_address_that_cannot_be_had_is_named() -> None:
    """The process ends with the address and the key to change."""
    folder = tempfile.TemporaryDirectory(prefix="hub-")
    documentation_only = "192.0.2.1"  # RFC 5737
    expected = pytest.raises(RuntimeError, match=re.escape("Cannot listen on 192.0.2.1:1 (gateway.grpc_port)"))
    with folder, expected:
        async with hub(Path(folder.name), workers=1, host=documentation_only, grpc_port=1):
            pytest.fail("it started")


@pytest.mark.parametrize("body", [b"\xff" * HELD, request_for(model="nobody", id="x" * HELD).SerializeToString()])
async def test_a_refused_message_is_let_go_at_once(system: Hub, body: bytes) -> None:
    """Nothing keeps what a refused call sent."""
    call: Any = system.channel.unary_unary(INFER_PATH)

    async def refused() -> None:
        with pytest.raises(grpc.aio.AioRpcError):
            await call(body, timeout=5)

    await assert_let_go(refused, HELD)
