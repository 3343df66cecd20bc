"""The traffic rules hold for both V2 doors as they do for /predict."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError

from inference_core.tensors import write_inputs
from inference_pb import open_inference_pb2 as wire
from tests.gateway.v2_system import Hub, hub
from tests.waiting import eventually_answers

RULE = {"split": {"stable": 1, "canary": 1}, "labels": {"stable": "1", "canary": "2"}, "cache": {}}
INPUTS = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, 2.5]}]}
METHOD = "/inference.GRPCInferenceService/ModelInfer"
USERS = [f"user-{number}" for number in range(20)]
Met = tuple[str, str]
"""Arm and version."""


@pytest.fixture
async def system(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hub]:
    """Serve a worker with two versions and a rule for them."""
    monkeypatch.setattr("gateway.slots.REFRESH_SECONDS", 0.05)
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        async with hub(Path(folder), workers=1) as running:
            running.workers[0].versions = {"embedder": ("1", "2")}
            await eventually_answers(lambda: _is_set(running), "both versions")
            yield running


async def _is_set(running: Hub) -> bool:
    answer = await running.client.simulate_put("/admin/traffic/embedder", json=RULE)
    assert answer.status_code == 200
    return bool(answer.json["warnings"] == [])


async def by_rest(system: Hub, path: str = "", **headers: str) -> Met:
    """Ask over HTTP."""
    answer = await system.post(f"/v2/models/embedder{path}/infer", INPUTS, **headers)
    assert answer.status_code == 200, answer.text
    assert answer.json["outputs"][0]["data"] == [1.5, 2.5]
    return answer.headers.get("x-model-arm", ""), answer.json["model_version"]


async def by_grpc(system: Hub, version: str = "", **headers: str) -> Met:
    """Ask over gRPC."""
    request = wire.ModelInferRequest(model_name="embedder", model_version=version)
    write_inputs(request, {"x": np.array([[1.5, 2.5]], "<f4")})
    ask = system.channel.unary_unary(METHOD, type(request).SerializeToString, wire.ModelInferResponse.FromString)
    call = ask(request, timeout=5, metadata=tuple((name.replace("_", "-"), value) for name, value in headers.items()))
    answer = await call
    told = dict(await call.trailing_metadata())
    return str(told.get("x-model-arm", "")), answer.model_version


async def test_a_user_meets_the_same_arm_at_every_door(system: Hub) -> None:
    """The key of a header is the key of the metadata, and the arm is told either way."""
    met = {user: await by_rest(system, x_user_key=user) for user in USERS}
    assert {user: await by_grpc(system, x_user_key=user) for user in USERS} == met
    assert set(met.values()) == {("stable", "1"), ("canary", "2")}


async def test_a_named_version_goes_before_the_rule(system: Hub) -> None:
    """The path's or the request's version is no arm's; a label is as good as its version; the tester's header works."""
    for wanted in ("2", "canary"):
        assert await by_rest(system, f"/versions/{wanted}") == ("", "2")
        assert await by_grpc(system, wanted) == ("", "2")
        assert await by_rest(system, x_model_version=wanted) == ("override", "2")
        assert await by_grpc(system, x_model_version=wanted) == ("override", "2")


async def test_an_error_tells_the_arm_too(system: Hub) -> None:
    """A refused call has its arm in the metadata."""
    with pytest.raises(AioRpcError) as found:
        await by_grpc(system, x_model_version="9")
    assert found.value.code() is StatusCode.NOT_FOUND
    assert dict(found.value.trailing_metadata())["x-model-arm"] == "override"
