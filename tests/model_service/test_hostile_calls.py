"""Whatever arrives as a call, it ends with an honest status, and the worker goes on."""

from __future__ import annotations

import numpy as np
import pytest
from grpc import StatusCode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.held import assert_let_go
from tests.model_service.worker import end_of, infer_request, running_worker

INFER = "/inference.GRPCInferenceService/ModelInfer"
PREDICT = "/ModelInference/Predict"
HELD = 100_000
LONG = infer_request("nobody", arrays={"features": np.zeros((1, HELD), np.float32)})


async def test_an_unknown_method_is_unimplemented() -> None:
    """A method that is not there ends with UNIMPLEMENTED, below our services and elsewhere."""
    async with running_worker() as worker:
        for path in ("/inference.GRPCInferenceService/Nothing", "/ModelInference/Nothing", "/nobody/Nothing"):
            status, _ = await end_of(worker.method(path)(b""))
            assert status is StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("path", [INFER, PREDICT, "/inference.GRPCInferenceService/ModelMetadata"])
@pytest.mark.parametrize(
    "message",
    [
        b"\xff" * 40,
        b"\x0a\xff\xff\xff\xff\x7f",
        b"\x0a\x05ab",
        b"\x08" + b"\x80" * 11,
        b"\x0a\x02\xff\xfe",
        b"\x2a\x02\x0a\x00" * 100 + b"\x0b" * 200,
    ],
    ids=["ones", "2^31 length", "truncated", "long varint", "not UTF-8", "nested groups"],
)
async def test_a_broken_message_is_the_clients_fault(path: str, message: bytes) -> None:
    """Bytes that are no protobuf end with INVALID_ARGUMENT and a log line, and the worker goes on."""
    async with running_worker() as worker:
        status, sentence = await end_of(worker.method(path)(message))
        assert (status, sentence) == (
            StatusCode.INVALID_ARGUMENT,
            "The message is not the protobuf message that this method takes.",
        )
        assert [line["status"] for line in await worker.ended(1)] == ["INVALID_ARGUMENT"]
        assert (await worker.protocol.ModelInfer(infer_request())).model_name == "double"


@pytest.mark.parametrize("message", [b"\xff" * HELD, LONG.SerializeToString()])
async def test_a_refused_message_is_let_go_at_once(message: bytes) -> None:
    """Nothing keeps what a refused call sent."""
    async with running_worker() as worker:

        async def refused() -> None:
            assert (await end_of(worker.method(INFER)(message)))[0] is not StatusCode.OK

        await assert_let_go(refused, HELD)


async def test_no_bytes_kill_the_worker() -> None:
    """Whatever bytes arrive as a message, each call ends with a status that blames the client or answers it."""
    endings = {StatusCode.OK, StatusCode.INVALID_ARGUMENT, StatusCode.NOT_FOUND}
    async with running_worker() as worker:
        for message in _messages():
            for path in (INFER, PREDICT):
                status, _ = await end_of(worker.method(path)(message))
                assert status in endings, message
        assert (await worker.protocol.ModelInfer(infer_request())).model_name == "double"


def _messages() -> list[bytes]:
    """Draw messages: bytes of chance, and good requests with one byte changed."""
    drawn: list[bytes] = []
    good = infer_request().SerializeToString()

    @settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
    @given(st.binary(max_size=60), st.integers(0, len(good) - 1), st.integers(0, 255))
    def draw(chance: bytes, place: int, byte: int) -> None:
        drawn.extend((chance, good[:place] + bytes([byte]) + good[place + 1 :], good[:place]))

    draw()
    return drawn


async def test_a_message_beyond_the_limit_is_refused() -> None:
    """A message above max_message_bytes ends with RESOURCE_EXHAUSTED, and the worker goes on."""
    async with running_worker() as worker:
        status, _ = await end_of(worker.method(INFER)(bytes(64 * 1024 * 1024 + 1)))
        assert status is StatusCode.RESOURCE_EXHAUSTED
        assert (await worker.protocol.ModelInfer(infer_request())).model_name == "double"


async def test_hostile_names_arrive_as_one_status_and_one_line() -> None:
    """A tensor name full of control characters is quoted and cut in the status and in the log."""
    request = infer_request(arrays={"\n\x1b[31m" + "\N{PILE OF POO}" * 10_000: np.zeros((1, 1), np.float32)})
    async with running_worker() as worker:
        status, sentence = await end_of(worker.protocol.ModelInfer(request))
        (line,) = await worker.ended(1)
    assert status is StatusCode.INVALID_ARGUMENT
    assert sentence.isprintable()
    assert len(sentence) < 1000
    assert line["error"] == sentence
