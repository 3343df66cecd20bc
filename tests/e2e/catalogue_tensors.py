"""Rows D17 to D19: lengths that lie, a million of everything, and what admission counts."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import httpx
import msgspec
import numpy as np

from inference_pb import open_inference_pb2 as wire
from tests.e2e.catalogue_bench import MEBIBYTE, Bench, Growth, counted, row, unless
from tests.e2e.catalogue_calls import status_of, stub_of
from tests.e2e.catalogue_grpc import sent
from tests.e2e.outcome import Outcome
from tests.e2e.stock import READY, stocked
from tests.e2e.tensor_calls import code_of, doors
from tests.gateway.v2.bodies import described
from tests.model_service.repository_tree import PYTHON_TOML
from tests.waiting import wait_for

FINE = struct.pack("<I", 4) + b"fine"
LIES = {
    "one more": (1, struct.pack("<I", 5) + b"fine"),
    "2^31": (1, struct.pack("<I", 2**31) + b"fine"),
    "2^32 - 1": (1, b"\xff\xff\xff\xff" + b"fine"),
    "one less": (1, struct.pack("<I", 3) + b"fine"),
    "half a prefix": (1, b"\x04\x00"),
    "nothing": (1, b""),
    "an element too many": (1, FINE + FINE),
    "an element too few": (2, FINE),
    "a lie in the second": (2, FINE + struct.pack("<I", 2**32 - 1) + b"x"),
    "a byte behind": (1, FINE + b"\x00"),
}
MILLION, SUITE_COUNT = 10**6, 10**5
MOST_SECONDS = 2.0
INFER = "/inference.GRPCInferenceService/ModelInfer"
JSON = {"Content-Type": "application/json"}
LIMITED = "max_batch_size = 4096\nlimits = {max_queue_rows = 100, max_queue_bytes = 1048576}\n" + PYTHON_TOML
SLEEPING = """
import time
import numpy as np

class Model:
    def __init__(self, folder, parameters):
        self.began = folder.parents[2] / f"sleeping-{folder.name}"

    def predict(self, inputs):
        rows = inputs["features"]
        self.began.touch()
        time.sleep(float(rows[0, 0]))
        return {"class_id": np.zeros(len(rows), np.int32)}
"""
ROWS_THAT_WAIT, BUSY_SECONDS = 100, 0.7
SHAPES = {
    "1": [(1, 1)] * (ROWS_THAT_WAIT + 1),
    "2": [(60, 1), (60, 1), (1, 1)],
    "3": [(1, 150_000), (1, 150_000), (1, 1)],
}
FLOATS = 100_000


@row("D17", "BYTES whose length prefixes lie, over REST, at the gRPC door and at a worker")
def lying_lengths(bench: Bench) -> Outcome:
    """400 and INVALID_ARGUMENT for each, and the honest one is answered."""
    with bench.client() as client:
        good = _bytes_over_rest(client, 1, FINE)
        statuses = [_bytes_over_rest(client, count, raw) for count, raw in LIES.values()]
    codes = [code_of(stub.ModelInfer, _bytes_request(*lie)) for stub in doors(bench) for lie in LIES.values()]
    honest = [code_of(stub.ModelInfer, _bytes_request(1, FINE)) for stub in doors(bench)]
    wrong = unless(good == httpx.codes.OK and honest == ["OK"] * 2, f"the honest one: {good}, {honest}")
    wrong += unless(set(statuses) == {400} and set(codes) == {"INVALID_ARGUMENT"}, f"{statuses}, {codes}")
    return Outcome(f"{counted(statuses)}; INVALID_ARGUMENT x {len(codes)}", "read beyond the end 0", wrong)


def _bytes_over_rest(client: httpx.Client, count: int, raw: bytes) -> int:
    tensor = described("prompt", np.empty(count, object)) | {"parameters": {"binary_data_size": len(raw)}}
    head = msgspec.json.encode({"inputs": [tensor]})
    headers = {"Inference-Header-Content-Length": str(len(head))}
    return client.post("/v2/models/sentiment/infer", content=head + raw, headers=headers).status_code


def _bytes_request(count: int, raw: bytes) -> wire.ModelInferRequest:
    request = wire.ModelInferRequest(model_name="sentiment", raw_input_contents=[raw])
    request.inputs.add(name="prompt", datatype="BYTES", shape=[count])
    return request


@row("D18", "10^6 inputs, outputs, parameters and dimensions (10^5 in the suite); over REST as many as 16 MiB hold")
def a_million(bench: Bench) -> Outcome:
    """400, 413 or their kin, each in bounded time."""
    count = MILLION if bench.measuring else SUITE_COUNT
    found: dict[str, tuple[str, float]] = {}
    with bench.client() as client:
        for name, body in _documents(count):
            began = time.perf_counter()
            answer = client.post("/v2/models/sentiment/infer", content=body, headers=JSON)
            found[f"REST {name}"] = str(answer.status_code), time.perf_counter() - began
    for name, message in _messages(count):
        for door, port in (("gRPC", bench.system.front_port), ("worker", bench.system.grpc_port)):
            began = time.perf_counter()
            code = sent(bench, INFER, message, port=port)
            found[f"{door} {name}"] = code, time.perf_counter() - began
    refused = {"400", "413", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}
    strange = {name: code for name, (code, _) in found.items() if code not in refused}
    name, (_, slowest) = max(found.items(), key=lambda item: item[1][1])
    wrong = unless(not strange, f"{strange}") + unless(slowest < MOST_SECONDS, f"{name} took {slowest:.1f} s")
    return Outcome(f"{len(found)} of {len(found)} refused", f"slowest {slowest * 1000:.0f} ms ({name})", wrong)


def _documents(count: int) -> Iterator[tuple[str, bytes]]:
    prompt = b'{"name": "prompt", "datatype": "BYTES", "shape": [1], "data": ["fine"]%b}'
    parameters = b"{%b}" % b",".join(b'"%d":1' % number for number in range(count))
    outputs = b",".join(b'{"name":"%d"}' % number for number in range(count * 9 // 10))
    inputs = b",".join([b'{"name":"%d","datatype":"INT8","shape":[0],"data":[]}' % n for n in range(count // 4)])
    yield "inputs", b'{"inputs":[%b]}' % inputs
    yield "outputs", b'{"inputs":[%b],"outputs":[%b]}' % (prompt % b"", outputs)
    yield "parameters", b'{"inputs":[%b],"parameters":%b}' % (prompt % b"", parameters)
    yield "an input's parameters", b'{"inputs":[%b]}' % (prompt % (b', "parameters":' + parameters))
    yield (
        "dimensions",
        b'{"inputs":[{"name":"prompt","datatype":"BYTES","shape":[%b],"data":["x"]}]}' % (b",".join([b"1"] * count)),
    )


def _messages(count: int) -> Iterator[tuple[str, bytes]]:
    kind, tensor = wire.ModelInferRequest, wire.ModelInferRequest.InferInputTensor
    head = wire.ModelInferRequest(model_name="sentiment").SerializeToString()
    entry = wire.InferParameter(bool_param=True).SerializeToString()
    names = [b"%07d" % number for number in range(count)]
    entries = [_field(1, name) + _field(2, entry) for name in names]
    yield "inputs", head + _repeated(kind.INPUTS_FIELD_NUMBER, [_field(1, name) for name in names])
    yield "outputs", head + _repeated(kind.OUTPUTS_FIELD_NUMBER, [_field(1, name) for name in names])
    yield "parameters", head + _repeated(kind.PARAMETERS_FIELD_NUMBER, entries)
    within = _field(1, b"prompt") + _repeated(tensor.PARAMETERS_FIELD_NUMBER, entries)
    yield "an input's parameters", head + _field(kind.INPUTS_FIELD_NUMBER, within)
    long = wire.ModelInferRequest(model_name="sentiment")
    long.inputs.add(name="prompt", datatype="BYTES", shape=[1] * count).contents.bytes_contents.append(b"fine")
    yield "dimensions", long.SerializeToString()


def _field(number: int, value: bytes) -> bytes:
    size, length = len(value), bytearray()
    while size > 0x7F:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + value


def _repeated(number: int, values: list[bytes]) -> bytes:
    return b"".join([_field(number, value) for value in values])


@row("D19", "many small calls and few large ones behind a busy model of max_queue_rows 100 and max_queue_bytes 1 MiB")
def cost(bench: Bench) -> Outcome:
    """Rows and bytes are what is admitted: 100 calls of one row wait, a second one of 60 rows or 0.6 MiB does not."""
    with stocked(bench, "limited", LIMITED) as stock:
        for version in SHAPES:
            stock.publish(version, lambda folder: (folder / "model.py").write_text(SLEEPING))
        for version in SHAPES:
            stock.until(version, READY)
        # A version each, so that none is judged by what another one took.
        with ThreadPoolExecutor(len(SHAPES)) as threads:
            found = threads.map(partial(_behind_a_long_one, bench, stock.name), SHAPES, SHAPES.values())
            small, rows, size = found
    expected = ["OK", "RESOURCE_EXHAUSTED", "OK"]
    wrong = unless(small == ["OK"] * ROWS_THAT_WAIT + ["RESOURCE_EXHAUSTED"], f"small: {counted_words(small)}")
    wrong += unless(rows == expected, f"of 60 rows: {rows}") + unless(size == expected, f"of 0.6 MiB: {size}")
    happened = (
        f"one row: {small.count('OK')} of {len(small)} wait; 60 rows: 1 of 2; 0.6 MiB: 1 of 2, and a small one beside"
    )
    return Outcome(happened, _milliseconds_for_floats(bench), wrong)


def counted_words(words: list[str]) -> str:
    """Return words with how often each came."""
    return ", ".join(f"{word} x {words.count(word)}" for word in sorted(set(words)))


def _behind_a_long_one(bench: Bench, model: str, version: str, shapes: list[tuple[int, int]]) -> list[str]:
    """Keep a version busy, and return how calls of such shapes end that come meanwhile, one after the other."""
    began = bench.system.run_folder.parent / f"sleeping-{version}"
    began.unlink(missing_ok=True)
    with stub_of(bench) as stub:
        long = stub.ModelInfer.future(_rows(model, version, (1, 1), BUSY_SECONDS), timeout=10)
        wait_for(began.exists, "the long computation", interval=0.01)
        calls = [stub.ModelInfer.future(_rows(model, version, shape), timeout=10) for shape in shapes]
        found = [status_of(call) for call in calls]
        assert status_of(long) == "OK"
    return found


def _rows(model: str, version: str, shape: tuple[int, int], seconds: float = 0.0) -> wire.ModelInferRequest:
    request = wire.ModelInferRequest(model_name=model, model_version=version)
    request.inputs.add(name="features", datatype="FP32", shape=shape)
    request.raw_input_contents.append(np.full(shape, seconds, "<f4").tobytes())
    return request


def _milliseconds_for_floats(bench: Bench) -> str:
    values = msgspec.json.encode([0.125] * FLOATS)
    body = b'{"inputs":[{"name":"features","datatype":"FP32","shape":[1,%d],"data":%b}]}' % (FLOATS, values)
    with Growth(bench.gateways()) as growth, bench.client() as client:
        for _ in range(10):
            assert client.post("/v2/models/v1-mock/infer", content=body, headers=JSON).is_success
    return f"{growth.processor_seconds * 1000 / (10 * len(body) / MEBIBYTE):.0f} ms of CPU per MiB of JSON numbers"
