"""Rows F05 to F07: deadlines, cancellation and metadata of calls."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any

import grpc
import httpx
import psutil

from inference_pb import open_inference_pb2 as wire
from inference_pb.open_inference_pb2_grpc import GRPCInferenceServiceStub
from tests.e2e.catalogue_bench import DEADLINE_SECONDS, Bench, Growth, row, unless
from tests.e2e.catalogue_grpc import INFER, patient_request
from tests.e2e.http2 import called
from tests.e2e.outcome import Outcome
from tests.waiting import wait_for

SLOW_SECONDS = 0.5
OK, DEADLINE_EXCEEDED, INTERNAL = "0", "4", "13"
HEADERS = {"0": 400, "-1": 400, "nan": 400, "-inf": 400, "x": 400, "": 400, "1e9": 200, "inf": 200, "1e309": 200}
"""Values of X-Request-Timeout and what they must give: a huge one is lowered to the gateway's own deadline."""
CANARY = b"canary-5f3a"
LONGEST_LINE, MOST_MEBIBYTES = 4096, 50


@contextlib.contextmanager
def stub_of(bench: Bench) -> Iterator[GRPCInferenceServiceStub]:
    """Connect to worker 0."""
    with grpc.insecure_channel(f"127.0.0.1:{bench.system.grpc_port}") as channel:
        yield GRPCInferenceServiceStub(channel)


def status_of(call: Any) -> str:
    """Wait for a call and return the name of its status."""
    try:
        call.result(timeout=30)
    except grpc.FutureCancelledError:
        return "CANCELLED"
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


@row("F05", "deadlines: 1 ms and 50 ms behind a 500 ms model, 0, negative, 10 years, none; X-Request-Timeout likewise")
def deadlines(bench: Bench) -> Outcome:
    """DEADLINE_EXCEEDED without computing; the worker's own deadline where none is given."""
    with stub_of(bench) as stub:
        running = stub.ModelInfer.future(patient_request(SLOW_SECONDS, 500), timeout=10)
        wait_for(lambda: 500 in bench.computed(), "the first computation")
        short = [stub.ModelInfer.future(patient_request(0, 501 + n), timeout=t) for n, t in enumerate((0.001, 0.05))]
        found = [status_of(call) for call in short]
        first = status_of(running)
        long = status_of(stub.ModelInfer.future(patient_request(0, 503), timeout=10 * 365 * 86400.0))
    wrong = unless([first, *found, long] == ["OK", *["DEADLINE_EXCEEDED"] * 2, "OK"], f"{first}, {found}, {long}")
    raw = {text: _with_timeout(bench, text, 510 + number) for number, text in enumerate((b"0n", b"-1S", b"99999999H"))}
    wrong += unless(list(raw.values()) == [DEADLINE_EXCEEDED, INTERNAL, OK], f"raw: {raw}")
    time.sleep(SLOW_SECONDS)  # whatever is still queued would be computed by now
    late = {501, 502, 510, 511} & set(bench.computed())
    wrong += unless(not late, f"computed after their deadline: {sorted(late)}")
    own, mistakes = _without_a_deadline(bench)
    return Outcome(
        f"late ones never computed; none given: the worker's own ended it after {own:.1f} s",
        "",
        wrong + mistakes + _http(bench),
    )


def _with_timeout(bench: Bench, text: bytes, number: int) -> str:
    message = patient_request(0, number).SerializeToString()
    return called(bench.system.grpc_port, INFER.encode(), message, {b"grpc-timeout": text})[0]


def _without_a_deadline(bench: Bench) -> tuple[float, tuple[str, ...]]:
    began = time.monotonic()
    with stub_of(bench) as stub:
        running = stub.ModelInfer.future(patient_request(DEADLINE_SECONDS + 1.0, 504), timeout=10)
        wait_for(lambda: 504 in bench.computed(), "a computation beyond the worker's own deadline")
        status = status_of(stub.ModelInfer.future(patient_request(0, 505)))
        took = time.monotonic() - began
        status_of(running)
    wrong = unless(status == "DEADLINE_EXCEEDED", f"none given: {status} after {took:.1f} s")
    return took, wrong + unless(505 not in bench.computed(), "computed after the worker's own deadline")


def _http(bench: Bench) -> tuple[str, ...]:
    with bench.client() as client:
        wait_for(lambda: _asked(client, "5") == httpx.codes.OK, "the patient model at rest")
        found = {value: _asked(client, value) for value in HEADERS}
        began = time.monotonic()
        late = _asked(client, "0.05", SLOW_SECONDS)
        took = time.monotonic() - began
    wrong = unless(found == HEADERS, f"X-Request-Timeout: {found}")
    return wrong + unless(
        late == httpx.codes.GATEWAY_TIMEOUT and took < SLOW_SECONDS / 2, f"50 ms: {late}, {took:.2f} s"
    )


def _asked(client: httpx.Client, timeout: str, seconds: float = 0.0) -> int:
    body = {"features": [seconds, 520.0], "model_name": "patient"}
    return client.post("/predict", json=body, headers={"X-Request-Timeout": timeout}).status_code


@row("F06", "calls that are cancelled before they start, while queued, inside a computation, about when they end")
def cancellations(bench: Bench) -> Outcome:
    """Compute nothing that was cancelled in the queue, answer its neighbours, and be free at once."""
    with stub_of(bench) as stub:
        before = stub.ModelInfer.future(patient_request(0, 600), timeout=10)
        before.cancel()
        inside = stub.ModelInfer.future(patient_request(SLOW_SECONDS, 601), timeout=10)
        wait_for(lambda: 601 in bench.computed(), "the computation")
        queued = [stub.ModelInfer.future(patient_request(0.01, 610 + number), timeout=10) for number in range(20)]
        time.sleep(SLOW_SECONDS / 5)  # so that they have arrived
        for call in (inside, *queued[::2]):
            call.cancel()
        neighbours = [status_of(call) for call in queued[1::2]]
        ended = [_cancelled_after(stub, seconds) for seconds in (0.008, 0.01, 0.012) * 5]
        began = time.monotonic()
        free = status_of(stub.ModelInfer.future(patient_request(0, 640), timeout=10))
        took = time.monotonic() - began
    computed = {610 + number for number in range(0, 20, 2)} & set(bench.computed())
    wrong = unless(set(neighbours) == {"OK"}, f"neighbours: {neighbours}") + unless(free == "OK", f"afterwards: {free}")
    wrong += unless(not computed, f"cancelled in the queue and computed: {len(computed)} of 10")
    wrong += unless(set(ended) <= {"OK", "CANCELLED"}, f"at the end: {set(ended)}")
    return Outcome(f"{len(neighbours)} neighbours OK", f"free after {took * 1000:.0f} ms", wrong)


def _cancelled_after(stub: GRPCInferenceServiceStub, seconds: float) -> str:
    call = stub.ModelInfer.future(patient_request(0.01, 630), timeout=10)
    time.sleep(seconds)
    call.cancel()
    return status_of(call)


@row(
    "F07",
    "metadata: 20 kB, 3 MB, 1000 keys, -bin that is no base64, grpc- names, bytes beyond ASCII, CR LF, upper case",
)
def metadata(bench: Bench) -> Outcome:
    """Refuse or ignore; reflect nothing of it, and log at most lines as any other."""
    cases: dict[str, Mapping[bytes, bytes]] = {
        "3 MB": {b"x-a": CANARY + b"c" * 3_000_000},
        "1000 keys": {b"x-%d" % number: CANARY for number in range(1000)},
        "-bin": {b"x-a-bin": b"!" + CANARY},
        "grpc-": {b"grpc-anything": CANARY, b"grpc-encoding": b"identity"},
        "not ASCII": {b"x-a": CANARY + b"\xe9\xff"},
        "CR LF": {b"x-a": CANARY + b"\r\nx-b: c"},
        "upper case": {b"X-A": CANARY},
        "a foreign coding": {b"grpc-encoding": CANARY},
    }
    message = wire.ServerLiveRequest().SerializeToString()
    live = b"/inference.GRPCInferenceService/ServerLive"
    with Growth([psutil.Process(bench.system.pids("inference")[0])]) as growth:
        answers = {name: called(bench.system.grpc_port, live, message, extra) for name, extra in cases.items()}
    reflected = [name for name, (_, received) in answers.items() if CANARY in received]
    logged = [line for line in bench.log_lines() if CANARY in line]
    wrong = unless(not reflected, f"reflected: {reflected}")
    wrong += unless(all(len(line) <= LONGEST_LINE and json.loads(line) for line in logged), "a log line was broken")
    wrong += unless((large := _by_client(bench)) == "RESOURCE_EXHAUSTED", f"20 kB by a client of gRPC: {large}")
    wrong += unless(growth.mebibytes < MOST_MEBIBYTES, f"memory grew by {growth.mebibytes:.0f} MiB")
    wrong += unless(bench.infer(patient_request(0, 700)) == "OK", "the worker no longer answers")
    statuses = ", ".join(f"{name}: {status}" for name, (status, _) in answers.items())
    return Outcome(f"20 kB: {large}; status numbers {statuses}", f"{len(logged)} log lines with a value", wrong)


def _by_client(bench: Bench) -> str:
    with stub_of(bench) as stub:
        return status_of(stub.ServerLive.future(wire.ServerLiveRequest(), metadata=(("x-a", "c" * 20_000),), timeout=5))
