"""Rows F01 to F04: messages and paths that no worker should trust."""

from __future__ import annotations

import random
from collections.abc import Callable

import grpc
import numpy as np

from inference_pb import open_inference_pb2 as wire
from tests.e2e.catalogue_bench import MEBIBYTE, MESSAGE_BYTES, Bench, row, unless
from tests.e2e.http2 import called
from tests.e2e.outcome import Outcome

INFER, PREDICT = "/inference.GRPCInferenceService/ModelInfer", "/ModelInference/Predict"
RANDOM_MESSAGES = 300
UNIMPLEMENTED = "12"
HOSTILE = {
    "ones": b"\xff" * 40,
    "a length of 2^31": b"\x0a\xff\xff\xff\xff\x07",
    "truncated": b"\x0a\x05ab",
    "a varint of 12 bytes": b"\x08" + b"\x80" * 11,
    "not UTF-8": b"\x0a\x02\xff\xfe",
    "groups 200 deep": b"\x0b" * 200,
    "unknown fields": b"\xfa\x3f\x03abc",
}


def sent(bench: Bench, path: str, message: bytes, seconds: float = 10.0, port: int | None = None) -> str:
    """Send bytes as a message to worker 0, or to another port, and return the name of the status."""
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{port or bench.system.grpc_port}", options) as channel:
        try:
            ask: Callable[..., bytes] = channel.unary_unary(path)  # without a serializer bytes go as they are
            ask(message, timeout=seconds)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


def patient_request(seconds: float, number: int) -> wire.ModelInferRequest:
    """Return a request that takes so long and that the patient model notes by its number."""
    request = wire.ModelInferRequest(model_name="patient")
    request.inputs.add(name="features", datatype="FP32", shape=[1, 2])
    request.raw_input_contents.append(np.array([seconds, number], "<f4").tobytes())
    return request


@row("F01", "messages of max_message_bytes - 1, of exactly that, and of one more")
def too_large(bench: Bench) -> Outcome:
    """RESOURCE_EXHAUSTED for the one beyond the limit, the model's own answer for the others."""
    found = [sent(bench, INFER, _padded(MESSAGE_BYTES + more)) for more in (-1, 0, 1)]
    wrong = unless(found[2] == "RESOURCE_EXHAUSTED", f"beyond the limit: {found[2]}")
    wrong += unless("RESOURCE_EXHAUSTED" not in found[:2], "refused inside the limit")
    note = "through the gateway not offered: its own limit of 16 MiB answers 413 before the hop"
    return Outcome(f"{', '.join(found)}; {note}", f"{MESSAGE_BYTES // MEBIBYTE} MiB", wrong)


def _padded(size: int) -> bytes:
    request = wire.ModelInferRequest(model_name="digits", id="x")
    request.inputs.add(name="features", datatype="FP32", shape=[1, 64])
    for _ in range(2):  # the second time the padding's own length has as many bytes as it will have
        request.id = "x" * (size - request.ByteSize() + len(request.id))
    return request.SerializeToString()


@row("F02", "wrong wire bytes: ones, lies about length, broken UTF-8, deep groups, random")
def wrong_bytes(bench: Bench) -> Outcome:
    """INVALID_ARGUMENT, or the answer to what the bytes happen to say; the worker lives."""
    chance = random.Random(2)  # noqa: S311  # no secret
    messages = [*HOSTILE.values(), *(chance.randbytes(chance.randrange(1, 60)) for _ in range(RANDOM_MESSAGES))]
    found = [sent(bench, path, message) for message in messages for path in (INFER, PREDICT)]
    allowed = {"INVALID_ARGUMENT", "NOT_FOUND", "OK"}
    wrong = unless(set(found) <= allowed, f"ended as {set(found) - allowed}")
    broken = found[: 2 * (len(HOSTILE) - 1)]
    wrong += unless(set(broken) == {"INVALID_ARGUMENT"}, f"broken messages ended as {set(broken)}")
    wrong += unless(bench.infer(patient_request(0, 201)) == "OK", "the worker no longer answers")
    return Outcome(f"{found.count('INVALID_ARGUMENT')} of {len(found)} INVALID_ARGUMENT", "crashes 0", wrong)


@row("F03", "raw and typed contents together; raw contents one byte short, one byte long, one tensor more")
def mixed_contents(bench: Bench) -> Outcome:
    """INVALID_ARGUMENT for each."""
    both, short, long, more = (patient_request(0, 301) for _ in range(4))
    both.inputs[0].contents.fp32_contents.extend([0.0, 301.0])
    short.raw_input_contents[0] = short.raw_input_contents[0][:-1]
    long.raw_input_contents[0] += b"\x00"
    more.raw_input_contents.append(b"")
    found = [bench.infer(request) for request in (both, short, long, more)]
    wrong = unless(set(found) == {"INVALID_ARGUMENT"}, f"statuses {found}")
    wrong += unless(301 not in bench.computed(), "one of them was computed")
    return Outcome(", ".join(found), wrong=wrong)


@row("F04", "unknown methods and services; a path without its slash, with two, empty, with a NUL")
def unknown_methods(bench: Bench) -> Outcome:
    """UNIMPLEMENTED or a reset stream; no handler ever runs."""
    paths = [b"/inference.GRPCInferenceService/Nothing", b"/nobody/ModelInfer", b"/ModelInference/predict"]
    paths += [b"inference.GRPCInferenceService/ModelInfer", b"//inference.GRPCInferenceService/ModelInfer"]
    paths += [b"/", b"/inference.GRPCInferenceService/ModelInfer\x00", b"/inference.GRPCInferenceService/ModelInfer/"]
    message = patient_request(0, 401).SerializeToString()
    found = [called(bench.system.grpc_port, path, message)[0] for path in paths]
    wrong = unless(set(found[:5]) == {UNIMPLEMENTED}, f"statuses {found}")
    wrong += unless("0" not in found and 401 not in bench.computed(), "a handler ran")
    control, _ = called(bench.system.grpc_port, INFER.encode(), message)
    wrong += unless(control == "0" and 401 in bench.computed(), f"the right path got {control}")
    return Outcome(f"{found.count(UNIMPLEMENTED)} of {len(found)} UNIMPLEMENTED; the right path OK", wrong=wrong)
