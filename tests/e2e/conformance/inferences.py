"""What a client sends to models, and what it gets."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import tritonclient.grpc
from tritonclient.utils import InferenceServerException

from tests.e2e.conformance.server import FLOOD, Server, X, check, check_http, expect, expect_status

MEGABYTES = 10


@check
def json_infer(server: Server) -> None:
    """Values in JSON, or in typed contents, come back."""
    if server.is_http:
        tensor, wants = server.input("x", X, binary_data=False), [server.output("twice", binary_data=False)]
        expect(server.infer(inputs=[tensor], outputs=wants).as_numpy("twice").tolist(), (X * 2).tolist())
        return
    stub, messages = server.client._client_stub, tritonclient.grpc.service_pb2
    request = messages.ModelInferRequest(model_name="mirror")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=X.shape)
    tensor.contents.fp32_contents.extend(X.ravel().tolist())
    found = stub.ModelInfer(request)
    expect(list(found.outputs[1].contents.fp32_contents), [1.0, 3.0, 5.0])


@check
def binary_infer(server: Server) -> None:
    """Binary values come back, as the client sends them by itself."""
    expect(server.infer().as_numpy("twice").tolist(), (X * 2).tolist())


@check
def mixed_inputs(server: Server) -> None:
    """One input in JSON and one binary; two datatypes."""
    left, right = np.array([[1.5, 2.5]], np.float32), np.array([[1, 2]], np.int32)
    how: dict[str, Any] = {"binary_data": False} if server.is_http else {}
    inputs = [server.input("left", left, **how), server.input("right", right, "INT32")]
    expect(server.infer("pair", inputs).as_numpy("sum").tolist(), [[2.5, 4.5]])


@check
def bytes_that_are_not_utf8(server: Server) -> None:
    """BYTES are bytes."""
    texts = np.array([b"\xff\x00\xfe", b"", b"plain"], object)
    expect(server.infer("letters", [server.input("text", texts, "BYTES")]).as_numpy("text").tolist(), texts.tolist())


@check
def requested_outputs(server: Server) -> None:
    """Only the output that was asked for."""
    found = server.infer(outputs=[server.output("twice")])
    expect(found.as_numpy("twice").tolist(), (X * 2).tolist())
    expect(found.as_numpy("x") is None, True)


@check
def id_echo(server: Server) -> None:
    """The id comes back."""
    response = server.infer(request_id="order 66").get_response()
    expect(response["id"] if server.is_http else response.id, "order 66")


@check
def unknown_model(server: Server) -> None:
    """404 or NOT_FOUND."""
    expect_status(server, "404", "NOT_FOUND", lambda: server.infer("nope"))


@check
def unknown_version(server: Server) -> None:
    """404 or NOT_FOUND."""
    expect_status(server, "404", "NOT_FOUND", lambda: server.infer(model_version="9"))


@check
def wrong_shape(server: Server) -> None:
    """400 or INVALID_ARGUMENT."""
    tensor = server.input("x", np.ones((1, 2, 2), np.float32))
    expect_status(server, "400", "INVALID_ARGUMENT", lambda: server.infer(inputs=[tensor]))


@check
def wrong_datatype(server: Server) -> None:
    """400 or INVALID_ARGUMENT."""
    tensor = server.input("x", np.ones((1, 2), np.int32), "INT32")
    expect_status(server, "400", "INVALID_ARGUMENT", lambda: server.infer(inputs=[tensor]))


def _compressed(server: Server, coding: str) -> None:
    large = np.ones((1, 5000), np.float32)
    if server.is_http:
        how = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
    else:
        how = {"compression_algorithm": coding}
    found = server.infer(inputs=[server.input("x", large)], **how)
    expect(found.as_numpy("twice").tolist(), (large * 2).tolist())


@check
def gzip(server: Server) -> None:
    """A compressed request, and an answer that may be."""
    _compressed(server, "gzip")


@check
def deflate(server: Server) -> None:
    """The same with zlib's form."""
    _compressed(server, "deflate")


@check
def full_queue(server: Server) -> None:
    """What does not fit into the queue is 503 or UNAVAILABLE, at a worker's own port RESOURCE_EXHAUSTED."""
    tensor = server.input("x", np.ones((1, 1), np.float32))
    statuses: list[str] = []

    def ask() -> None:
        client = server.connect()
        try:
            client.infer("slow", [tensor])
            statuses.append("ok")
        except InferenceServerException as error:
            statuses.append(error.status())
        finally:
            client.close()

    threads = [threading.Thread(target=ask) for _ in range(FLOOD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = server.status("503", "RESOURCE_EXHAUSTED" if server.is_worker else "UNAVAILABLE")
    expect(len(statuses), FLOOD)
    expect(set(statuses), {"ok", refused})


@check
def ten_megabytes(server: Server) -> None:
    """A large tensor comes back whole."""
    large = np.arange(MEGABYTES * 2**18, dtype=np.float32).reshape(1, -1)
    found = server.infer(inputs=[server.input("x", large)], outputs=[server.output("x")])
    expect(bool((found.as_numpy("x") == large).all()), True)


@check
def classification(server: Server) -> None:
    """The largest two, as texts."""
    found = server.infer(outputs=[server.output("x", class_count=2)]).as_numpy("x")
    expect(found.tolist(), [[b"2.500000:2", b"1.500000:1"]])


@check
def async_infer(server: Server) -> None:
    """Several at once, each with its own answer."""
    tensors = [server.input("x", X + number) for number in range(8)]
    if server.is_http:
        waiting = [server.client.async_infer("mirror", [tensor]) for tensor in tensors]
        found = [call.get_result() for call in waiting]
    else:
        found = _callbacks(server, tensors)
    expect([answer.as_numpy("x").tolist() for answer in found], [(X + number).tolist() for number in range(8)])


def _callbacks(server: Server, tensors: list[Any]) -> list[Any]:
    answers: dict[int, Any] = {}
    done = threading.Semaphore(0)
    for number, tensor in enumerate(tensors):

        def keep(result: Any, error: Any, number: int = number) -> None:
            answers[number] = result if error is None else error
            done.release()

        server.client.async_infer("mirror", [tensor], keep)
    for _ in tensors:
        done.acquire()
    return [answers[number] for number in range(len(tensors))]


@check
def client_timeout(server: Server) -> None:
    """A client that gives up is told so by its own library, and the server goes on."""
    tensor = server.input("x", np.ones((1, 1), np.float32))
    began = time.monotonic()
    try:
        if server.is_http:
            server.connect(network_timeout=0.05).infer("slow", [tensor])
        else:
            server.client.infer("slow", [tensor], client_timeout=0.05)
    except InferenceServerException as error:
        expect(error.status(), "StatusCode.DEADLINE_EXCEEDED")
    except TimeoutError:
        expect(server.is_http, True)
    else:
        raise AssertionError("it waited")
    expect(time.monotonic() - began < 1.0, True)
    expect(server.infer().as_numpy("x").tolist(), X.tolist())


@check
def priority_and_timeout(server: Server) -> None:
    """The parameters of the schedule are taken."""
    expect(server.infer(priority=2, timeout=4_000_000).as_numpy("x").tolist(), X.tolist())


@check_http
def raw_form(server: Server) -> None:
    """A body may be the only tensor of a model."""
    body, headers = X.tobytes(), {"Inference-Header-Content-Length": "0"}
    response = server.client._post("v2/models/mirror/infer", body, headers, None)
    expect(response.status_code, 200)
    length = int(response.get("inference-header-content-length"))
    result = server.library.InferResult.from_response_body(response.read(), header_length=length)
    expect(result.as_numpy("twice").tolist(), (X * 2).tolist())
