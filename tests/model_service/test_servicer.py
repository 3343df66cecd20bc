"""The Open Inference Protocol over gRPC, as any V2 client speaks it."""

from __future__ import annotations

import numpy as np
import pytest
from grpc import StatusCode

from inference_core.deadline import now
from inference_core.tensors import read_tensors
from inference_pb import open_inference_pb2 as wire
from tests.model_service.worker import (
    CLASSES,
    ROWS,
    Gate,
    Worker,
    end_of,
    infer_request,
    loaded,
    running_worker,
    starting_worker,
    until,
)


def typed_request(values: list[float], shape: list[int]) -> wire.ModelInferRequest:
    """Return a request of model `double` with typed contents."""
    request = wire.ModelInferRequest(model_name="double")
    request.inputs.add(name="features", datatype="FP32", shape=shape).contents.fp32_contents.extend(values)
    return request


async def states(worker: Worker, *, ready: bool = False) -> list[tuple[str, str, str]]:
    """Return the repository's index."""
    index = await worker.protocol.RepositoryIndex(wire.RepositoryIndexRequest(ready=ready))
    return [(model.name, model.version, model.state) for model in index.models]


async def test_a_raw_request_gets_a_raw_answer() -> None:
    """Raw contents in, raw contents out, one entry for each output, with the model, its version and the id."""
    request = infer_request()
    request.id = "any id \N{PILE OF POO}"
    async with running_worker() as worker:
        answer = await worker.protocol.ModelInfer(request)
    assert (answer.model_name, answer.model_version, answer.id) == ("double", "1", request.id)
    assert len(answer.raw_output_contents) == len(answer.outputs) == 3
    arrays = read_tensors(answer.outputs, answer.raw_output_contents)
    assert arrays["doubled"].tolist() == [[2, 4, 6]]
    assert {output.name: output.datatype for output in answer.outputs} == {
        "class_id": "INT32",
        "confidence": "FP32",
        "doubled": "FP32",
    }


async def test_a_typed_request_gets_a_typed_answer() -> None:
    """Typed contents in, typed contents out."""
    async with running_worker() as worker:
        answer = await worker.protocol.ModelInfer(typed_request([1, 2, 3, 4], [2, 2]))
    assert list(answer.raw_output_contents) == []
    assert list(answer.outputs[2].shape) == [2, 2]
    assert list(answer.outputs[2].contents.fp32_contents) == [2, 4, 6, 8]
    assert list(answer.outputs[0].contents.int_contents) == [2, 2]


async def test_bytes_go_in_and_out() -> None:
    """A BYTES model gets and gives any bytes."""
    request = infer_request("shout", arrays={"prompt": np.array([b"abc", b"\xff\x00z"], object)})
    async with running_worker() as worker:
        answer = await worker.protocol.ModelInfer(request)
    labels = read_tensors(answer.outputs, answer.raw_output_contents)["label"]
    assert labels.tolist() == [b"ABC", b"\xff\x00Z"]


async def test_wanted_outputs_come_alone_and_in_order() -> None:
    """A request that names outputs gets those, in its order."""
    request = infer_request()
    for name in ("doubled", "class_id"):
        request.outputs.add(name=name)
    async with running_worker() as worker:
        answer = await worker.protocol.ModelInfer(request)
    assert [output.name for output in answer.outputs] == ["doubled", "class_id"]
    assert len(answer.raw_output_contents) == 2


@pytest.mark.parametrize(
    ("wants", "sentence"),
    [
        (["nothing"], "Model {} has no output 'nothing'; its outputs are class_id, confidence, doubled."),
        (["class_id", "class_id"], "Ask for each output once."),
        ([""], "Model {} has no output ''; its outputs are class_id, confidence, doubled."),
        (["doubled", "Doubled"], "Model {} has no output 'Doubled'; its outputs are class_id, confidence, doubled."),
    ],
)
async def test_outputs_that_are_not_there_are_refused(wants: list[str], sentence: str) -> None:
    """An unknown or repeated output is refused with the outputs that there are."""
    request = infer_request()
    for name in wants:
        request.outputs.add(name=name)
    async with running_worker() as worker:
        end = await end_of(worker.protocol.ModelInfer(request))
    assert end == (StatusCode.INVALID_ARGUMENT, sentence.format(request.model_name))


@pytest.mark.parametrize(("version", "answers"), [("", "2"), ("1", "1"), ("2", "2")])
async def test_a_version_can_be_asked(version: str, answers: str) -> None:
    """A request's version answers; without one the last does."""
    async with running_worker() as worker:
        answer = await worker.protocol.ModelInfer(infer_request("versioned", version))
    assert answer.model_version == answers


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (infer_request("nobody"), "There is no model of that name. Models here: double, shout, versioned."),
        (infer_request("versioned", "9"), "Model versioned has no such version. Versions here: 1, 2."),
    ],
    ids=["name", "version"],
)
async def test_an_unknown_model_is_not_found(request_: wire.ModelInferRequest, sentence: str) -> None:
    """A model or version that is not there ends with NOT_FOUND and what there is, also for its metadata."""
    metadata = wire.ModelMetadataRequest(name=request_.model_name, version=request_.model_version)
    async with running_worker() as worker:
        ends = [
            await end_of(worker.protocol.ModelInfer(request_)),
            await end_of(worker.protocol.ModelMetadata(metadata)),
        ]
    assert ends == [(StatusCode.NOT_FOUND, sentence)] * 2


def _two_inputs() -> wire.ModelInferRequest:
    request = infer_request()
    request.inputs.add(name="more", datatype="FP32", shape=[0])
    request.raw_input_contents.append(b"")
    return request


def _mixed() -> wire.ModelInferRequest:
    request = typed_request([1], [1, 1])
    request.raw_input_contents.append(b"\0\0\0\0")
    return request


def _short() -> wire.ModelInferRequest:
    request = infer_request()
    request.raw_input_contents[0] = request.raw_input_contents[0][:-1]
    return request


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (infer_request(arrays={"features": np.zeros(3, np.float32)}), "input features has shape"),
        (infer_request(arrays={"features": np.zeros((0, 3), np.float32)}), "input features has shape"),
        (infer_request(arrays={"features": np.zeros((1, 3))}), "has datatype FP32, got FP64"),
        (infer_request(arrays={"Features": np.zeros((1, 3), np.float32)}), "takes 'features', not 'Features'"),
        (wire.ModelInferRequest(model_name="double"), "takes 'features', not nothing"),
        (typed_request([1, 2], [1, 3]), "needs 3 values in fp32_contents, got 2"),
        (_two_inputs(), "takes 'features', not 'features', 'more'"),
        (_mixed(), "typed contents beside raw contents"),
        (_short(), "needs 12 bytes, got 11"),
    ],
    ids=["dimensions", "no rows", "datatype", "name", "nothing", "typed", "two inputs", "mixed", "a byte short"],
)
async def test_what_does_not_fit_is_refused(request_: wire.ModelInferRequest, sentence: str) -> None:
    """A request that can never succeed ends with INVALID_ARGUMENT and the reason."""
    async with running_worker() as worker:
        status, details = await end_of(worker.protocol.ModelInfer(request_))
    assert status is StatusCode.INVALID_ARGUMENT
    assert sentence in details


async def test_metadata_is_the_signature() -> None:
    """A model's metadata has its versions, its platform and the tensors that it takes and gives."""
    async with running_worker(loaded("m", version="1"), loaded("m", version="2")) as worker:
        metadata = await worker.protocol.ModelMetadata(wire.ModelMetadataRequest(name="m"))
    assert (metadata.name, list(metadata.versions), metadata.platform) == ("m", ["1", "2"], "test")
    for described, declared in ((metadata.inputs, ROWS), (metadata.outputs, CLASSES)):
        tensors = [(tensor.name, tensor.datatype, tuple(tensor.shape)) for tensor in described]
        assert tensors == [(tensor.name, tensor.datatype, tensor.shape) for tensor in declared]


async def test_the_configuration_is_the_description() -> None:
    """A model's configuration says how it is run, under Triton's names; a model that is not there is NOT_FOUND."""
    model = loaded("m", max_batch_size=7, max_queue_delay=0.0025, instances=3)
    async with running_worker(model, loaded("plain")) as worker:
        config = (await worker.protocol.ModelConfig(wire.ModelConfigRequest(name="m", version="1"))).config
        plain = (await worker.protocol.ModelConfig(wire.ModelConfigRequest(name="plain"))).config
        status, _ = await end_of(worker.protocol.ModelConfig(wire.ModelConfigRequest(name="nobody")))
    assert (config.name, config.platform, config.backend, config.max_batch_size) == ("m", "test", "test", 7)
    assert config.dynamic_batching.max_queue_delay_microseconds == 2500
    assert [(group.count, group.kind) for group in config.instance_group] == [(3, wire.ModelInstanceGroup.KIND_CPU)]
    assert [(each.name, each.data_type, list(each.dims)) for each in config.input] == [
        ("features", wire.DataType.TYPE_FP32, [-1])
    ]
    assert [(each.name, list(each.dims)) for each in config.output] == [("class_id", []), ("confidence", [])]
    assert config.parameters["default_version"].string_value == "1"
    assert config.parameters["loaded.1"].string_value == str(model.loaded_at)
    assert loaded("m").loaded_at > model.loaded_at
    assert (plain.max_batch_size, plain.dynamic_batching.max_queue_delay_microseconds) == (64, 0)
    assert status is StatusCode.NOT_FOUND


async def test_an_answer_says_where_its_time_went() -> None:
    """The parameters of an answer are the microseconds in the queue and in the model."""
    gate = Gate()
    async with running_worker(loaded("slow", gate)) as worker:
        first = worker.protocol.ModelInfer(infer_request("slow"))
        await gate.wait_entered()
        second = worker.protocol.ModelInfer(infer_request("slow"))
        await until(lambda: worker.engine.rows_waiting("slow") == 1)
        waited_at_least, began = 0.02, now()
        await until(lambda: now() - began > waited_at_least)
        gate.leave.set()
        times = [
            (answer.parameters["queue_us"].int64_param, answer.parameters["compute_us"].int64_param)
            for answer in (await first, await second)
        ]
    limit = waited_at_least * 1e6
    assert [queue >= limit for queue, _ in times] == [False, True]
    assert [compute >= limit for _, compute in times] == [True, False]


async def test_the_server_describes_itself() -> None:
    """Name, version and the extensions for configurations, the repository and statistics are told."""
    async with running_worker() as worker:
        metadata = await worker.protocol.ServerMetadata(wire.ServerMetadataRequest())
    assert (metadata.name, metadata.version) == ("inference-hub", "1.2.3")
    assert list(metadata.extensions) == ["model_configuration", "model_repository", "statistics"]


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("double", "", True), ("double", "1", True), ("double", "2", False), ("x", "", False)],
)
async def test_readiness_is_told_for_each_model(name: str, version: str, ready: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """A model that is there is ready; one that is not is simply not ready."""
    async with running_worker() as worker:
        answer = await worker.protocol.ModelReady(wire.ModelReadyRequest(name=name, version=version))
    assert answer.ready is ready


async def test_the_index_lists_every_version() -> None:
    """The repository's index has each version of each model as READY."""
    async with running_worker() as worker:
        expected = [("double", "1"), ("shout", "1"), ("versioned", "1"), ("versioned", "2")]
        assert await states(worker) == [(*model, "READY") for model in expected]
        assert await states(worker, ready=True) == await states(worker)


@pytest.mark.parametrize("draining", [False, True])
async def test_a_worker_that_is_not_ready_says_so(draining: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """Before it serves and once it drains, a worker is live, and neither it nor a model is ready."""
    async with starting_worker(loaded("m")) as worker:
        if draining:
            await worker.health.serving(["m"])
            await worker.health.draining()
        assert (await worker.protocol.ServerLive(wire.ServerLiveRequest())).live
        assert not (await worker.protocol.ServerReady(wire.ServerReadyRequest())).ready
        assert not (await worker.protocol.ModelReady(wire.ModelReadyRequest(name="m"))).ready
        assert await states(worker) == [("m", "1", "UNAVAILABLE")]
        assert await states(worker, ready=True) == []


async def test_a_worker_that_loads_asks_for_another_try() -> None:
    """While there are no models yet, a request ends with UNAVAILABLE, which a client repeats elsewhere."""
    async with starting_worker() as worker:
        worker.registry._models.clear()
        worker.registry._is_open = False
        status, details = await end_of(worker.protocol.ModelInfer(infer_request()))
        assert (status, "loading" in details) == (StatusCode.UNAVAILABLE, True)
        assert not (await worker.protocol.ModelReady(wire.ModelReadyRequest(name="double"))).ready


async def test_an_fp16_answer_must_be_raw() -> None:
    """A typed request to a model that answers in FP16 is refused with the way to ask."""
    half = loaded("half", lambda inputs: {"y": inputs["features"].astype(np.float16)})
    request = typed_request([1], [1, 1])
    request.model_name = "half"
    async with running_worker(half) as worker:
        status, details = await end_of(worker.protocol.ModelInfer(request))
        answer = await worker.protocol.ModelInfer(infer_request("half"))
    assert (status, "raw contents" in details) == (StatusCode.INVALID_ARGUMENT, True)
    assert answer.outputs[0].datatype == "FP16"


async def test_an_answer_the_protocol_cannot_say_is_the_models_failure() -> None:
    """A model that answers with a dtype of its own ends the call with INTERNAL."""
    odd = loaded("odd", lambda inputs: {"y": inputs["features"].astype(np.complex64)})
    async with running_worker(odd) as worker:
        status, details = await end_of(worker.protocol.ModelInfer(infer_request("odd")))
    assert (status, "complex64" in details) == (StatusCode.INTERNAL, True)
