"""POST /v2/models/{model}/infer: forms of a body, forms of an answer, and what is refused."""

from __future__ import annotations

import asyncio
import gzip
import tempfile
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import numpy as np
import pytest

from inference_core.tensors import from_raw
from tests.gateway.v2.bodies import body
from tests.gateway.v2_system import LIMIT, Hub, hub
from tests.held import assert_let_go

PATH = "/v2/models/embedder/infer"
HELD = 32 * 1024
HEADER = "Inference_Header_Content_Length"
X = np.array([[0.5, 1.5, 2.5]], "<f4")
DOCUMENT: dict[str, Any] = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [0.5, 1.5, 2.5]}]}


@pytest.fixture
async def system() -> AsyncIterator[Hub]:
    """Serve one worker that answers with its inputs."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        async with hub(Path(folder), workers=1) as running:
            yield running


async def test_json_in_and_out(system: Hub) -> None:
    """Values, model, version and id come back, and the array arrived as it was meant."""
    answer = await system.post(PATH, {**DOCUMENT, "id": "a b"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert system.workers[0].inputs["x"].tolist() == X.tolist()
    assert answer.json == {
        "model_name": "embedder",
        "model_version": "3",
        "id": "a b",
        "outputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0.5, 1.5, 2.5]}],
    }


async def test_a_version_is_asked_for(system: Hub) -> None:
    """The version in the path reaches the worker; one that nobody has is 404."""
    answer = await system.post("/v2/models/embedder/versions/1/infer", DOCUMENT)
    assert (answer.status_code, answer.json["model_version"]) == (200, "1")
    answer = await system.post("/v2/models/embedder/versions/9/infer", DOCUMENT)
    assert (answer.status_code, list(answer.json)) == (404, ["error"])


async def test_binary_in_and_out(system: Hub) -> None:
    """The header says how long the JSON is, both ways."""
    sent, length = body({"x": X}, set(), parameters={"binary_data_output": True})
    answer = await system.post(PATH, sent, **{HEADER: str(length)})
    length = int(answer.headers["inference-header-content-length"])
    head = msgspec.json.decode(answer.content[:length])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert head["outputs"][0]["parameters"] == {"binary_data_size": 12}
    assert from_raw("x", "FP32", (1, 3), answer.content[length:]).tolist() == X.tolist()


async def test_texts_need_not_be_utf8(system: Hub) -> None:
    """BYTES travel binary as they are; JSON cannot tell them, and says so."""
    texts = np.array([b"\xff\x00", b""], object)
    sent, length = body({"x": texts}, set(), outputs=[{"name": "x", "parameters": {"binary_data": True}}])
    answer = await system.post("/v2/models/texts/infer", sent, **{HEADER: str(length)})
    assert answer.content.endswith(b"\x02\0\0\0\xff\0\0\0\0\0")
    sent, length = body({"x": texts}, set())
    answer = await system.post("/v2/models/texts/infer", sent, **{HEADER: str(length)})
    assert (answer.status_code, "binary" in answer.json["error"]) == (400, True)


async def test_a_body_of_one_tensor(system: Hub) -> None:
    """With the header at 0 the body is the model's only input, and all outputs come back binary."""
    answer = await system.post(PATH, X.tobytes(), **{HEADER: "0"})
    assert system.workers[0].inputs["x"].tolist() == X.tolist()
    assert answer.content.endswith(X.tobytes())
    answer = await system.post("/v2/models/texts/infer", b"\xff", **{HEADER: "0"})
    assert system.workers[0].inputs["x"].tolist() == [b"\xff"]


async def test_a_body_of_one_tensor_is_no_json(system: Hub) -> None:
    """A client that says both has made a mistake, and four letters are no number."""
    answer = await system.post(PATH, b"null", **{HEADER: "0", "Content_Type": "application/json; charset=utf-8"})
    assert (answer.status_code, "Content-Type" in answer.json["error"]) == (400, True)


async def test_classes(system: Hub) -> None:
    """The classification extension answers with texts."""
    wants = [{"name": "x", "parameters": {"classification": 2}}]
    answer = await system.post(PATH, {**DOCUMENT, "outputs": wants})
    (output,) = answer.json["outputs"]
    assert (output["datatype"], output["shape"]) == ("BYTES", [1, 2])
    assert output["data"] == ["2.500000:2", "1.500000:1"]


PACKED: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("coding", list(PACKED))
async def test_bodies_may_be_compressed(system: Hub, coding: str) -> None:
    """Gzip and deflate are read; the header still counts the JSON as it was."""
    sent, length = body({"x": X}, set())
    answer = await system.post(PATH, PACKED[coding](sent), **{HEADER: str(length), "Content_Encoding": coding})
    assert answer.json["outputs"][0]["data"] == [0.5, 1.5, 2.5]


@pytest.mark.parametrize(("coding", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
async def test_answers_are_compressed_for_who_wants_that(system: Hub, coding: str, unpack: Any) -> None:
    """Large answers only; `Vary` tells caches."""
    large = np.zeros((1, 2000), "<f4")
    sent, length = body({"x": large}, set(), parameters={"binary_data_output": True})
    answer = await system.post(PATH, sent, **{HEADER: str(length), "Accept_Encoding": f"br, {coding}"})
    assert (answer.headers["content-encoding"], answer.headers["vary"]) == (coding, "Accept-Encoding")
    assert len(answer.content) < 1000
    assert unpack(answer.content).endswith(large.tobytes())
    answer = await system.post(PATH, DOCUMENT, Accept_Encoding=coding)
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("sent", "coding", "status"),
    [
        (gzip.compress(b"\0" * (LIMIT + 1)), "gzip", 413),
        (zlib.compress(b"\0" * (LIMIT + 1)), "deflate", 413),
        (gzip.compress(b"\0" * (LIMIT // 2)) * 3, "gzip", 413),
        (gzip.compress(b"{}")[:-1], "gzip", 400),
        (zlib.compress(b"{}") + b"{}", "deflate", 400),
        (b"junk", "gzip", 400),
        (b"{}", "br", 415),
        (b"{}", "gzip, gzip", 415),
    ],
    ids=["bomb", "zlib bomb", "many members", "cut", "more", "junk", "another coding", "twice"],
)
async def test_compressed_bodies_are_bounded(system: Hub, sent: bytes, coding: str, status: int) -> None:
    """However little is sent, never more than the limit is unpacked, and what is no gzip is said so."""
    answer = await system.post(PATH, sent, Content_Encoding=coding)
    assert (answer.status_code, list(answer.json)) == (status, ["error"])


async def test_large_answers_come_in_pieces(system: Hub) -> None:
    """What is too large to be written at once arrives whole, with its length in the head."""
    system.workers[0].answer = lambda _, inputs: {"y": np.repeat(inputs["x"], 100_000, axis=1)}
    answer = await system.post(PATH, {**DOCUMENT, "parameters": {"binary_data_output": True}})
    assert len(answer.content) == int(answer.headers["content-length"]) > 1_200_000
    assert answer.content.endswith(np.repeat(X, 100_000, axis=1).tobytes())


STATUSES = [
    (grpc.StatusCode.INVALID_ARGUMENT, "", 400),
    (grpc.StatusCode.NOT_FOUND, "", 404),
    (grpc.StatusCode.INTERNAL, "", 500),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "full", 503),
]


@pytest.mark.parametrize(("status", "reason", "expected"), STATUSES)
async def test_a_workers_status_is_tritons(system: Hub, status: grpc.StatusCode, reason: str, expected: int) -> None:
    """What fails at a worker fails as it does at Triton, with one key, `error`."""
    system.workers[0].status, system.workers[0].reason = status, reason
    answer = await system.post(PATH, DOCUMENT)
    assert (answer.status_code, list(answer.json)) == (expected, ["error"])


@pytest.mark.parametrize(
    ("more", "status", "word"),
    [
        ({"parameters": {"sequence_id": 1}}, 501, "sequence_id"),
        ({"parameters": {"priority": "high"}}, 400, "priority"),
        ({"outputs": [{"name": "y"}]}, 400, "its outputs are x"),
        ({"inputs": []}, 400, "inputs"),
    ],
)
async def test_what_cannot_be_done_is_said(system: Hub, more: dict[str, Any], status: int, word: str) -> None:
    """One key, `error`, and a sentence that names what is wrong."""
    answer = await system.post(PATH, {**DOCUMENT, **more})
    assert (answer.status_code, list(answer.json)) == (status, ["error"])
    assert word in answer.json["error"]


async def test_a_timeout_of_its_own_is_503(system: Hub) -> None:
    """The parameter `timeout` ends a request as Triton does, before the gateway's deadline."""

    async def hold(_: object) -> None:
        await asyncio.Event().wait()

    system.workers[0].before = hold
    answer = await system.post(PATH, {**DOCUMENT, "parameters": {"timeout": 1}})
    assert (answer.status_code, "timeout" in answer.json["error"]) == (503, True)


async def test_low_priority_gives_way(system: Hub) -> None:
    """The request is answered all the same; X-Priority and X-Request-Timeout are read here, too."""
    for headers in ({"X_Priority": "batch"}, {"X_Request_Timeout": "1"}, {}):
        answer = await system.post(PATH, {**DOCUMENT, "parameters": {"priority": 7}}, **headers)
        assert answer.status_code == 200
    assert (await system.post(PATH, DOCUMENT, X_Priority="soon")).status_code == 400


async def test_an_unknown_model_is_404(system: Hub) -> None:
    """Before its body is looked at."""
    answer = await system.post("/v2/models/nope/infer", b"junk")
    assert answer.status_code in {400, 404}
    answer = await system.post("/v2/models/nope/infer", DOCUMENT)
    assert (answer.status_code, "tiny" in answer.json["error"]) == (404, True)


@pytest.mark.parametrize("model", ["nobody", "embedder"])
async def test_a_refused_body_is_let_go_at_once(system: Hub, model: str) -> None:
    """Nothing keeps what a refused request sent."""

    async def refused() -> None:
        answer = await system.post(f"/v2/models/{model}/infer", {"inputs": [], "id": "x" * HELD})
        assert answer.status_code in {400, 404}

    await assert_let_go(refused, HELD)
