"""The V2 routes that describe the server and its models, and load and unload them."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import msgspec
import pytest

from gateway.v2.documents import IndexEntry, ModelMetadata
from tests.gateway.v2_system import Hub, hub
from tests.waiting import eventually_answers

NAMES = ["", "/versions/1"]


@pytest.fixture
async def system() -> AsyncIterator[Hub]:
    """Serve two workers."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        async with hub(Path(folder)) as running:
            yield running


async def test_the_server_says_what_it_is(system: Hub) -> None:
    """Name, version and extensions, with and without the slash; live and ready are 200."""
    for path in ("/v2", "/v2/"):
        answer = await system.get(path)
        assert (answer.status_code, answer.json["name"]) == (200, "inference-hub")
        assert "binary_tensor_data" in answer.json["extensions"]
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert (await system.get(path)).json == {"live": True}


@pytest.mark.parametrize("version", NAMES)
async def test_a_model_says_what_it_is(system: Hub, version: str) -> None:
    """Metadata, readiness, configuration and statistics exist for a model and for one version of it."""
    answer = await system.get(f"/v2/models/tiny{version}")
    metadata = msgspec.convert(answer.json, ModelMetadata)
    assert (metadata.name, metadata.versions, metadata.inputs[0].shape) == ("tiny", ["1"], [-1, 2, 2])
    assert (await system.get(f"/v2/models/tiny{version}/ready")).json == {"name": "tiny", "ready": True}
    assert (await system.get(f"/v2/models/tiny{version}/config")).json["max_batch_size"] == 64
    assert (await system.get(f"/v2/models/tiny{version}/stats")).json["model_stats"][0]["name"] == "tiny"


UNKNOWN = ["nope", "tiny/versions/9", "a..b", "tiny/versions/a%20b"]


@pytest.mark.parametrize("path", ["", "/ready"])
@pytest.mark.parametrize("name", UNKNOWN)
async def test_what_is_unknown_is_not_found(system: Hub, name: str, path: str) -> None:
    """404 with one key, `error`, for a model, a version, and names that nothing can have."""
    answer = await system.get(f"/v2/models/{name}{path}")
    assert (answer.status_code, list(answer.json)) == (404, ["error"])


async def test_statistics_are_summed_over_workers(system: Hub) -> None:
    """Counts, times and sizes add up; of the last inference the newest counts."""
    for path in ("/v2/models/stats", "/v2/models/tiny/stats"):
        (found,) = (await system.get(path)).json["model_stats"]
        assert (found["inference_count"], found["execution_count"], found["last_inference"]) == (3, 2, 2)
        assert found["inference_stats"]["success"] == {"count": 2, "ns": 3000}
        assert [(each["batch_size"], each["compute_infer"]["ns"]) for each in found["batch_stats"]] == [
            (1, 1000),
            (2, 2000),
        ]
        assert found["memory_usage"] == [{"type": "CPU", "id": 0, "byte_size": 20}]


async def test_the_index_has_what_can_be_asked_somewhere(system: Hub) -> None:
    """An empty body lists everything with its state and reason, `ready` leaves out what cannot be asked."""
    answer = await system.post("/v2/repository/index")
    index = msgspec.convert(answer.json, list[IndexEntry])
    assert {(entry.name, entry.state, entry.reason) for entry in index} >= {
        ("tiny", "READY", ""),
        ("late", "LOADING", "reading weights"),
    }
    ready = await system.post("/v2/repository/index", {"ready": True})
    assert {entry["name"] for entry in ready.json} == {"embedder", "texts", "tiny"}


@pytest.mark.parametrize("verb", ["load", "unload"])
async def test_control_reaches_every_worker(system: Hub, verb: str) -> None:
    """200 with an empty body once all have done it, whether the request's body is empty or not."""
    for body in (b"", b"{}", b'{"parameters": {"unload_dependents": true}}'):
        answer = await system.post(f"/v2/repository/models/tiny/{verb}", body)
        assert (answer.status_code, answer.content) == (200, b"")
    assert [worker.done for worker in system.workers] == [[f"{verb} tiny"] * 3] * 2


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.INTERNAL, 503),
    ],
)
async def test_control_that_one_worker_refuses_is_reported(system: Hub, status: grpc.StatusCode, expected: int) -> None:
    """The error says what became of it at each worker."""
    system.workers[1].refusing = (status, "The weights are broken.")
    answer = await system.post("/v2/repository/models/tiny/load", b"{}")
    assert answer.status_code == expected
    assert "worker 0: loaded; worker 1: The weights are broken" in answer.json["error"]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"parameter": {}}', b'{"parameters": {"a": null}}'])
async def test_a_body_of_control_is_checked(system: Hub, body: bytes) -> None:
    """What is no request to load is refused, and nothing is loaded."""
    answer = await system.post("/v2/repository/models/tiny/load", body)
    assert (answer.status_code, list(answer.json)) == (400, ["error"])
    assert system.workers[0].done == []


async def test_parameters_of_control_travel(system: Hub) -> None:
    """A parameter of a kind that the protocol has crosses, and one that is no text, number or boolean does not."""
    answer = await system.post(
        "/v2/repository/models/tiny/unload", {"parameters": {"a": 1, "b": "x", "c": True, "d": -217.0}}
    )
    assert answer.status_code == 200
    for odd in ({"a": 1.5}, {"a": 2**63}, {"file:1/model": "no base64!"}):
        answer = await system.post("/v2/repository/models/tiny/load", {"parameters": odd})
        assert (answer.status_code, list(answer.json)) == (400, ["error"])


async def test_without_workers_nothing_is_ready(system: Hub) -> None:
    """Readiness, metadata and control are 503 with a sentence; liveness stays."""
    for running in system.running:
        running.line.cut()

    async def is_gone() -> bool:
        return bool((await system.get("/v2/health/ready")).status_code == 503)

    await eventually_answers(is_gone, "the workers' end")
    for path in ("/v2/models/tiny", "/v2/models/tiny/ready", "/v2/models/stats"):
        answer = await system.get(path)
        assert (answer.status_code, list(answer.json)) == (503, ["error"])
    assert (await system.post("/v2/repository/models/tiny/load")).status_code == 503
    assert (await system.post("/v2/repository/index")).status_code == 503
    assert (await system.get("/v2/health/live")).status_code == 200


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
async def test_another_verb_is_405(system: Hub, method: str) -> None:
    """With the verbs that there are."""
    answer = await system.client.simulate_request(method, "/v2/models/tiny")
    assert (answer.status_code, list(answer.json)) == (405, ["error"])
    assert "GET" in answer.headers["allow"]


async def test_head_is_get_without_a_body(system: Hub) -> None:
    """Every page that can be read can be probed."""
    for path in ("/v2", "/v2/health/live", "/v2/models/tiny", "/v2/models/tiny/ready", "/v2/models/stats"):
        assert (await system.client.simulate_head(path)).status_code == 200
