"""POST /predict: what a body means, and what is refused."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import grpc
import numpy as np
import pytest
from falcon.testing import ASGIConductor
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.predictions import Predictions
from inference_core.errors import InvalidInput
from inference_core.settings import Predict
from inference_core.tensors import Arrays
from tests.gateway.fake_worker import FakeWorker

JSON = {"Content-Type": "application/json"}
SENTENCE = "Features must be an array of numbers"


async def post(client: ASGIConductor, body: object, **headers: str) -> Any:
    """Post a body, given as bytes or as what JSON makes of it."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await client.simulate_post("/predict", body=data, headers={**JSON, **headers})


async def test_features_become_one_row(client: ASGIConductor, worker: FakeWorker) -> None:
    """Numbers reach the default model as FP32 [1, n], and its class comes back."""
    answer = await post(client, {"features": [1, 2.5]})
    assert answer.status_code == 200
    assert worker.inputs["features"].dtype == np.float32
    assert worker.inputs["features"].tolist() == [[1.0, 2.5]]
    assert answer.json == {
        "class_id": 7,
        "confidence": 0.5,
        "error": "",
        "label": "v1-mock",
        "model_name": "v1-mock",
        "model_version": "3",
    }


async def test_a_prompt_becomes_one_text(client: ASGIConductor, worker: FakeWorker) -> None:
    """A text reaches the named model as BYTES [1] in UTF-8."""
    answer = await post(client, {"prompt": "schön", "model_name": "other"})
    assert worker.inputs["prompt"].tolist() == ["schön".encode()]
    assert answer.json["model_name"] == "other"


async def test_the_last_of_two_equal_keys_wins(client: ASGIConductor, worker: FakeWorker) -> None:
    """A key that is given twice counts as it was given last."""
    await post(client, b'{"prompt": "first", "prompt": "second"}')
    assert worker.inputs["prompt"].tolist() == [b"second"]


@pytest.mark.parametrize("features", ["invalid", 1, None, {}, [[1]], ["1"], [True], [None], [1e39], [1, "x"]], ids=repr)
async def test_anything_but_finite_numbers_gets_the_origins_sentence(client: ASGIConductor, features: object) -> None:
    """`features` that is no array of finite numbers is answered exactly as the origin did."""
    answer = await post(client, {"features": features})
    assert (answer.status_code, answer.json) == (400, {"error": SENTENCE})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no",
        b"[]",
        b"null",
        b"{}",
        b'"x"',
        b'{"prompt": 1}',
        b'{"prompt": "a", "features": [1]}',
        b"\xff",
        b"[" * 500,
        b'{"prompt": "a", "extra": 1}',
        b'{"prompt": "a", "model_name": "../a"}',
        b'{"features": [NaN]}',
    ],
    ids=repr,
)
async def test_other_bad_bodies_are_told_what_to_send(client: ASGIConductor, body: bytes) -> None:
    """A body that is not understood gets 400 and a sentence, and reaches no worker."""
    answer = await post(client, body)
    assert answer.status_code == 400
    assert list(answer.json) == ["error"]
    assert len(answer.json["error"]) > 20


@given(st.binary(max_size=200) | st.recursive(st.none() | st.floats() | st.text(), st.lists).map(repr).map(str.encode))
def test_no_body_is_unexpected(data: bytes) -> None:
    """Whatever the bytes are, they are a request or the client's mistake."""

    class Nobody:
        """Stands where the traffic would: parsing needs none."""

    predictions = Predictions(Nobody(), Predict())  # type: ignore[arg-type]  # never called
    with contextlib.suppress(InvalidInput):
        model, inputs = predictions.asked(predictions.parsed(data))
        assert (bool(model), len(inputs)) == (True, 1)


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""])
async def test_another_content_type_is_refused(client: ASGIConductor, media: str) -> None:
    """Only application/json is read."""
    answer = await client.simulate_post("/predict", body=b"{}", headers={"Content-Type": media})
    assert answer.status_code == 415


async def test_a_compressed_body_is_refused(client: ASGIConductor) -> None:
    """A content encoding is told apart before a byte is inflated."""
    answer = await post(client, b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert (answer.status_code, answer.headers["connection"]) == (415, "close")


async def test_a_large_body_is_refused(client: ASGIConductor) -> None:
    """More bytes than the limit are a 413 that ends the connection."""
    answer = await post(client, {"prompt": "x" * 1000})
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("seconds", ["", "soon", "0", "-1", "nan"])
async def test_a_timeout_that_is_no_time_is_refused(client: ASGIConductor, seconds: str) -> None:
    """X-Request-Timeout is a positive number of seconds."""
    answer = await post(client, {"prompt": "x"}, **{"X-Request-Timeout": seconds})
    assert answer.status_code == 400


async def test_the_deadline_crosses_the_hop(client: ASGIConductor, worker: FakeWorker) -> None:
    """The worker learns how much time is left, never more than the setting allows."""
    await post(client, {"prompt": "x"}, **{"X-Request-Timeout": "0.7"})
    assert worker.last.remaining is not None
    assert 0 < worker.last.remaining < 0.8
    await post(client, {"prompt": "x"}, **{"X-Request-Timeout": "inf"})
    assert worker.last.remaining is not None
    assert 0.8 < worker.last.remaining < 2.1


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
        (grpc.StatusCode.NOT_FOUND, 404),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 413),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504),
        (grpc.StatusCode.INTERNAL, 502),
        (grpc.StatusCode.UNKNOWN, 502),
        (grpc.StatusCode.UNIMPLEMENTED, 502),
        (grpc.StatusCode.DATA_LOSS, 502),
    ],
)
async def test_each_worker_status_has_an_http_status(
    client: ASGIConductor, worker: FakeWorker, status: grpc.StatusCode, expected: int
) -> None:
    """What the worker says reaches the client as the right class of answer."""
    worker.status = status
    answer = await post(client, {"prompt": "x"})
    assert answer.status_code == expected
    assert ("retry-after" in answer.headers) == (expected == 503)


async def test_a_busy_worker_is_a_503_with_its_reason(client: ASGIConductor, worker: FakeWorker) -> None:
    """A worker that takes no more and says why is no fault of the request: try again, which is counted, not logged."""
    worker.status, worker.reason = grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"
    with capture_logs() as lines:
        answer = await post(client, {"prompt": "x"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert [line for line in lines if line["event"] == "request"] == []


async def test_without_a_worker_the_answer_is_503(client: ASGIConductor) -> None:
    """Nobody there until the deadline means: no worker, try again."""
    answer = await post(client, {"prompt": "x"}, **{"X-Request-Timeout": "0.2"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_model_that_does_not_classify_is_said_so(client: ASGIConductor, worker: FakeWorker) -> None:
    """A model without a class is the caller's choice, not a failure."""

    def embed(_: str, __: Arrays) -> Arrays:
        return {"vector": np.zeros((1, 2), "<f4")}

    worker.answer = embed
    answer = await post(client, {"prompt": "x", "model_name": "embedder"})
    assert answer.status_code == 400
    assert "vector" in answer.json["error"]


async def test_an_answer_without_rows_is_a_failed_model(client: ASGIConductor, worker: FakeWorker) -> None:
    """Empty outputs are a 502 with a sentence."""

    def empty(_: str, __: Arrays) -> Arrays:
        return {"class_id": np.zeros(0, "<i4"), "confidence": np.zeros(0, "<f4")}

    worker.answer = empty
    answer = await post(client, {"prompt": "x"})
    assert answer.status_code == 502
    assert "row" in answer.json["error"]


async def test_a_confidence_that_is_no_number_is_a_failed_model(client: ASGIConductor, worker: FakeWorker) -> None:
    """NaN from a model is a 502 with a sentence, never invalid JSON."""

    def broken(_: str, __: Arrays) -> Arrays:
        return {"class_id": np.array([1], "<i4"), "confidence": np.array([np.nan], "<f4")}

    worker.answer = broken
    answer = await post(client, {"prompt": "x"})
    assert answer.status_code == 502
