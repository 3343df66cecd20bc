"""Rows D01 to D16: hostile bodies, and bodies too large, too finely cut or compressed."""

from __future__ import annotations

import gzip
import json
import socket
import time
from functools import partial

import httpx

from inference_pb import open_inference_pb2 as wire
from tests.e2e.catalogue_bench import MEBIBYTE, Bench, Growth, counted, row, unless
from tests.e2e.hostile_bodies import PROMPT, Hostile, hand_written, mistakes_in
from tests.e2e.outcome import Outcome
from tests.gateway.http_vectors import statuses_in

LISTED = {
    "D01": "valid bodies, cut at every byte",
    "D02": "empty, null, array, string, byte order mark, trailing bytes, other encodings",
    "D03": "NaN, Infinity, 1e999, beyond FP32, malformed numbers",
    "D05": "integers of 2^31 to 10^6 digits",
    "D06": "nesting 10^3 to 10^6 deep",
    "D07": "keys given twice",
    "D08": "invalid UTF-8, lone surrogates, control characters, long texts",
    "D14": "missing and wrong Content-Type, multipart, XML",
    "D15": "unknown fields; model names that traverse, break lines, hold markup or formats, or are too long",
}
HEAD = b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
LARGE = 100 * MEBIBYTE
PIECE = bytes(MEBIBYTE)
CUT_LIMIT_MEBIBYTES = 20.0
UNREAD_LIMIT_MEBIBYTES = 5.0
LENGTH = "Inference-Header-Content-Length"
LENGTHS = ("-1", "0", "5", "1000000", str(2**70), "", "abc")
SIZES = (-1, 0, 11, 13, 2**70, "12", None)
"""Of binary data, where it has twelve bytes."""

ROW = b"\x00\x00\x80?" * 3


def _listed(identity: str, bench: Bench) -> Outcome:
    bodies = [body for body in hand_written() if body.row == identity]
    statuses, wrong, slowest = [], [], (0.0, 0)
    with bench.client() as client:
        for body in bodies:
            began = time.perf_counter()
            answer = client.post("/predict", content=body.data, headers=body.headers)
            slowest = max(slowest, (time.perf_counter() - began, len(body.data)))
            statuses.append(answer.status_code)
            wrong += [f"{body.data[:60]!r}: {mistake}" for mistake in mistakes_in(answer, body)]
    seconds, size = slowest
    figure = f"slowest {seconds * 1000:.0f} ms, of {size} B"
    return Outcome(f"{len(bodies)} bodies: {counted(statuses)}", figure, tuple(wrong))


for _identity, _done in LISTED.items():
    row(_identity, _done)(partial(_listed, _identity))


@row("D04", "a model that answers with NaN")
def outputs_that_are_not_finite(bench: Bench) -> Outcome:
    """Answer 502 with a reason; never JSON with a NaN in it."""
    with bench.client() as client:
        answer = client.post("/predict", json={"features": [1.0], "model_name": "not-a-number"})
    wrong = unless(answer.status_code == httpx.codes.BAD_GATEWAY and list(answer.json()) == ["error"], "no 502")
    return Outcome(f"{answer.status_code}: {answer.json().get('error')}", wrong=wrong)


@row("D09", "features, prompts and names of every wrong type; tensors whose shape lies")
def wrong_types(bench: Bench) -> Outcome:
    """400 over HTTP; shapes are not part of /predict, ModelInfer refuses them as INVALID_ARGUMENT."""
    listed = _listed("D09", bench)
    shapes = [[-1], [0], [2], [2**62, 2**62], [1] * 65]
    codes = {bench.infer(_shaped(shape)) for shape in shapes}
    happened = f"{listed.happened}; {len(shapes)} shapes over gRPC: {', '.join(sorted(codes))}"
    return Outcome(happened, listed.figure, listed.wrong + unless(codes == {"INVALID_ARGUMENT"}, f"codes {codes}"))


def _shaped(shape: list[int]) -> wire.ModelInferRequest:
    request = wire.ModelInferRequest(model_name="v1-mock")
    request.inputs.add(name="features", datatype="FP32", shape=[1, *shape]).contents.fp32_contents.append(1.0)
    return request


@row("D10", "a body of 100 MB by its declared length, sent on regardless")
def large_declared(bench: Bench) -> Outcome:
    """413 before anything is read, then the connection ends."""
    head = HEAD + b"Content-Length: %d\r\n\r\n" % LARGE
    received, sent, growth = _send_until_answered(bench, head, PIECE)
    early = _answer_to(bench, head)
    wrong = unless(statuses_in(early) == [413], f"before the body: {statuses_in(early)}")
    wrong += unless(b"connection: close" in received.lower() and statuses_in(received) == [413], "no 413 with close")
    wrong += unless(growth.mebibytes < UNREAD_LIMIT_MEBIBYTES, "memory grew")
    return Outcome(f"413 before the body; at most {sent} MB were taken, and thrown away", _memory(growth), wrong)


@row("D11", "a body of 100 MB in chunks, of no declared length")
def large_chunked(bench: Bench) -> Outcome:
    """413 at the limit, and no more memory than the limit asks for."""
    chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
    received, sent, growth = _send_until_answered(bench, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunk)
    wrong = unless(statuses_in(received) == [413], f"statuses {statuses_in(received)}")
    wrong += unless(growth.mebibytes < CUT_LIMIT_MEBIBYTES, "memory grew")
    return Outcome(f"413; at most {sent} MB were taken, 16 MB of them kept until then", _memory(growth), wrong)


@row("D12", "10^6 chunks of one byte")
def many_chunks(bench: Bench) -> Outcome:
    """413 after 65,536 chunks, at a bounded cost."""
    chunks = b"1\r\n \r\n" * 10_000
    received, _, growth = _send_until_answered(bench, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", chunks)
    wrong = unless(statuses_in(received) == [413], f"statuses {statuses_in(received)}")
    return Outcome("413 after 65,536 chunks", f"{growth.processor_seconds:.2f} s of CPU, {_memory(growth)}", wrong)


@row("D13", "gzip, deflate, br, twice gzip, and a bomb of 1000:1")
def compressed(bench: Bench) -> Outcome:
    """415 unread: compressed bodies are not offered."""
    bomb = gzip.compress(bytes(LARGE // 10)) * 10
    with Growth(bench.gateways()) as growth:
        listed = _listed("D13", bench)
        with bench.client() as client:
            answer = client.post("/predict", content=bomb, headers=Hostile("D13", b"", encoding="gzip").headers)
    wrong = listed.wrong + unless(answer.status_code == httpx.codes.UNSUPPORTED_MEDIA_TYPE, "the bomb was read")
    wrong += unless(growth.mebibytes < UNREAD_LIMIT_MEBIBYTES, "memory grew")
    return Outcome(f"not offered: {listed.happened}; the bomb {answer.status_code}", _memory(growth), wrong)


@row(
    "D16", "Inference-Header-Content-Length: negative, too long, 2^70, empty, no number; sizes of binary data that lie"
)
def binary_extension(bench: Bench) -> Outcome:
    """Where binary tensors are offered each lie is 400 and the truth is answered; elsewhere the header is ignored."""
    with bench.client() as client:
        lies = [_binary(client, length) for length in LENGTHS] + [_binary(client, size=size) for size in SIZES]
        right = _binary(client)
        headers = {"Content-Type": "application/json"}
        own = str(len(PROMPT))
        plain = [client.post("/predict", content=PROMPT, headers={**headers, LENGTH: each}) for each in (*LENGTHS, own)]
        behind = client.post("/predict", content=PROMPT + b"\x04\x00\x00\x00good", headers={**headers, LENGTH: own})
    wrong = unless(set(lies) == {400}, f"lies: {lies}")
    wrong += unless(right == httpx.codes.OK, f"the truth: {right}")
    wrong += unless({answer.status_code for answer in plain} == {200}, "/predict did not ignore the header")
    wrong += unless(behind.status_code == httpx.codes.BAD_REQUEST, "/predict read binary data")
    happened = f"400 x {len(lies)}, the truth {right}; /predict: header ignored, 200 x {len(plain)}, data behind it 400"
    return Outcome(happened, wrong=wrong)


def _binary(client: httpx.Client, length: str | None = None, size: object = len(ROW)) -> int:
    tensor = {"name": "features", "datatype": "FP32", "shape": [1, 3], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {LENGTH: str(len(head)) if length is None else length}
    return client.post("/v2/models/v1-mock/infer", content=head + ROW, headers=headers).status_code


def _answer_to(bench: Bench, head: bytes) -> bytes:
    with socket.create_connection(bench.address, timeout=10) as connection:
        connection.sendall(head)
        return _received(connection)


def _received(connection: socket.socket) -> bytes:
    received = bytearray()
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionError:
        pass  # the server stopped listening to what was still coming; its answer came before
    return bytes(received)


def _send_until_answered(bench: Bench, head: bytes, piece: bytes) -> tuple[bytes, int, Growth]:
    """Send 100 pieces until the server closes; return its answer, the MB it took and what it cost."""
    with Growth(bench.gateways()) as growth, socket.create_connection(bench.address, timeout=10) as connection:
        connection.sendall(head)
        sent = 0
        try:
            for _ in range(100):
                connection.sendall(piece)
                sent += len(piece)
        except OSError:
            pass  # closed, as it should be
        received = _received(connection)
    return received, sent // MEBIBYTE, growth


def _memory(growth: Growth) -> str:
    return f"memory + {growth.mebibytes:.1f} MiB"
