"""A large tensor sent and fetched over REST and over gRPC, with as little work in the client as can be."""

from __future__ import annotations

import http.client
import json
import struct
from dataclasses import dataclass
from typing import Any, Protocol

import grpc

from inference_core.names import INFER_PATH
from inference_core.raw_messages import RAW_INPUTS, joined
from inference_pb import open_inference_pb2 as wire

HEADER = "Inference-Header-Content-Length"
SECONDS = 60
NUMBER_BYTES = 4


class Client(Protocol):
    """Sends to `sink`, fetches from `source`; returns how many bytes of tensor crossed."""

    def send(self, tensor: bytes) -> int:
        """Send one."""

    def fetch(self, size: int) -> int:
        """Fetch one of so many bytes."""


@dataclass
class Rest:
    """V2 over REST, with the binary extension both ways."""

    port: int

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)

    def send(self, tensor: bytes) -> int:
        """As `Client.send`."""
        self._ask("sink", "x", "FP32", [1, len(tensor) // NUMBER_BYTES], tensor)
        return len(tensor)

    def fetch(self, size: int) -> int:
        """As `Client.fetch`."""
        answer, head = self._ask("source", "size", "INT32", [1], struct.pack("<i", size // NUMBER_BYTES))
        return answer - head

    def _ask(self, model: str, name: str, datatype: str, shape: list[int], tensor: bytes) -> tuple[int, int]:
        described = {
            "name": name,
            "datatype": datatype,
            "shape": shape,
            "parameters": {"binary_data_size": len(tensor)},
        }
        head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
        headers = {HEADER: str(len(head)), "Content-Length": str(len(head) + len(tensor))}
        self._connection.request("POST", f"/v2/models/{model}/infer", iter((head, tensor)), headers)
        answer = self._connection.getresponse()
        body = answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"{answer.status} {body[:200].decode(errors='replace')}")
        return len(body), int(answer.headers[HEADER])


@dataclass
class Grpc:
    """V2 over gRPC, raw."""

    port: int

    def __post_init__(self) -> None:
        unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=unlimited)
        self._infer: Any = self._channel.unary_unary(INFER_PATH)

    def send(self, tensor: bytes) -> int:
        """As `Client.send`."""
        self._ask("sink", {"name": "x", "datatype": "FP32", "shape": [1, len(tensor) // NUMBER_BYTES]}, tensor)
        return len(tensor)

    def fetch(self, size: int) -> int:
        """As `Client.fetch`."""
        number = struct.pack("<i", size // NUMBER_BYTES)
        return len(self._ask("source", {"name": "size", "datatype": "INT32", "shape": [1]}, number))

    def _ask(self, model: str, described: dict[str, Any], tensor: bytes) -> bytes:
        request = wire.ModelInferRequest(model_name=model, inputs=[described])
        answer: bytes = self._infer(joined(request, RAW_INPUTS, [tensor]), timeout=SECONDS)
        return answer
