"""Load, unload and index over gRPC: Triton's repository extension as a client sees it."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc import StatusCode
from grpc_health.v1 import health_pb2

from inference_pb import open_inference_pb2 as wire
from model_service.placing import Loading
from model_service.server import NOT_SERVING, SERVING
from tests.model_service.libraries import answering, write_version
from tests.model_service.repository_tree import PYTHON_TOML
from tests.model_service.worker import Worker, end_of, infer_request, loaded, running_worker


async def load(worker: Worker, name: str) -> tuple[StatusCode, str]:
    """Load a model and return how that ended."""
    return await end_of(worker.protocol.RepositoryModelLoad(wire.RepositoryModelLoadRequest(model_name=name)))


async def unload(worker: Worker, name: str) -> tuple[StatusCode, str]:
    """Unload a model and return how that ended."""
    return await end_of(worker.protocol.RepositoryModelUnload(wire.RepositoryModelUnloadRequest(model_name=name)))


async def health_of(worker: Worker, name: str) -> int:
    """Return what the health service says of a model."""
    return int((await worker.probe.Check(health_pb2.HealthCheckRequest(service=name))).status)


async def states(worker: Worker, *, ready: bool = False) -> dict[str, tuple[str, str]]:
    """Return state and reason of the models of the repository."""
    index = await worker.protocol.RepositoryIndex(wire.RepositoryIndexRequest(ready=ready))
    return {model.name: (model.state, model.reason) for model in index.models if model.name != "other"}


async def test_a_model_is_loaded_asked_and_unloaded(tmp_path: Path) -> None:
    """Load brings a model in, unload takes it out; index, health and answers follow, and both may be repeated."""
    write_version(tmp_path, "1", answering(5))
    async with running_worker(loaded("other"), loading=Loading((tmp_path,))) as worker:
        for _ in range(2):
            assert await load(worker, "m") == (StatusCode.OK, "")
        answer = await worker.protocol.ModelInfer(infer_request("m"))
        assert (answer.model_version, await health_of(worker, "m")) == ("1", SERVING)
        assert await states(worker, ready=True) == {"m": ("READY", "")}
        for _ in range(2):
            assert await unload(worker, "m") == (StatusCode.OK, "")
        assert (await end_of(worker.protocol.ModelInfer(infer_request("m"))))[0] is StatusCode.NOT_FOUND
        assert (await states(worker), await health_of(worker, "m")) == (
            {"m": ("UNAVAILABLE", "it was unloaded; load it, or restart the worker")},
            NOT_SERVING,
        )
        assert await states(worker, ready=True) == {}


async def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    """A broken model is INVALID_ARGUMENT with its file, an unknown one NOT_FOUND, and the index keeps the reason."""
    write_version(tmp_path, "1", "raise OSError('oh')")
    async with running_worker(loaded("other"), loading=Loading((tmp_path,))) as worker:
        status, sentence = await load(worker, "m")
        assert (status, sentence) == (
            StatusCode.INVALID_ARGUMENT,
            "Model m cannot be loaded: Model file m/1/model.py cannot be loaded: OSError in line 1 of model.py: oh",
        )
        assert (await states(worker))["m"][0] == "UNAVAILABLE"
        for name in ("nobody", "../m", ""):
            assert (await load(worker, name))[0] is StatusCode.NOT_FOUND
            assert (await unload(worker, name))[0] is StatusCode.NOT_FOUND


@pytest.mark.parametrize("more", [{"repository_name": "elsewhere"}, {"parameters": {"config": {"string_param": "{}"}}}])
async def test_what_is_not_taken_is_refused(tmp_path: Path, more: dict[str, object]) -> None:
    """A model comes from the disk: another repository, or a configuration sent along, is refused with a sentence."""
    write_version(tmp_path, "1", answering(5))
    async with running_worker(loaded("other"), loading=Loading((tmp_path,))) as worker:
        request = wire.RepositoryModelLoadRequest(model_name="m", **more)  # type: ignore[arg-type]  # by the case
        assert (await end_of(worker.protocol.RepositoryModelLoad(request)))[0] is StatusCode.INVALID_ARGUMENT
        assert await states(worker) == {}


async def test_the_configuration_has_labels_and_policy(tmp_path: Path) -> None:
    """What a router needs is told: the default version, each label's version, and which versions are loaded."""
    choice = 'versions = ["1", "2"]\ndefault_version = 1\nlabels = {canary = 2}\n'
    for number in (1, 2):
        write_version(tmp_path, str(number), answering(number), toml=choice + PYTHON_TOML)
    async with running_worker(loaded("other"), loading=Loading((tmp_path,))) as worker:
        await load(worker, "m")
        config = (await worker.protocol.ModelConfig(wire.ModelConfigRequest(name="m"))).config
    told = {name: parameter.string_value for name, parameter in config.parameters.items()}
    assert told == told | {"default_version": "1", "label.canary": "2"}
    assert list(config.version_policy.specific.versions) == [1, 2]


async def test_a_call_has_at_most_as_many_rows_as_the_model_takes(tmp_path: Path) -> None:
    """A call with more rows than the model's limit is refused and computes nothing."""
    write_version(tmp_path, "1", answering(1), toml=f"limits = {{max_rows = 1}}\n{PYTHON_TOML}")
    async with running_worker(loaded("other"), loading=Loading((tmp_path,))) as worker:
        await load(worker, "m")
        request = infer_request("m")
        request.inputs[0].shape[0] = 2
        request.raw_input_contents[0] *= 2
        status, sentence = await end_of(worker.protocol.ModelInfer(request))
    assert (status, sentence) == (StatusCode.INVALID_ARGUMENT, "Model m takes at most 1 rows at once; send fewer.")
