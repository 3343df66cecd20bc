"""A server as tritonclient sees it, over either transport, and the list of checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

X = np.array([[0.5, 1.5, 2.5]], np.float32)
FLOOD = 40
Check = Callable[["Server"], None]
CHECKS: list[Check] = []
HTTP_ONLY: list[Check] = []


class Server:
    """One server over one transport; the words are those in which the transport tells a status."""

    def __init__(self, transport: str, address: str, *, is_worker: bool) -> None:
        self.is_http = transport == "http"
        self.is_worker = is_worker
        self.address = address
        self.library: Any = tritonclient.http if self.is_http else tritonclient.grpc
        self.client = self.connect()

    def connect(self, **more: Any) -> Any:
        """Return a new client."""
        options = {"concurrency": FLOOD} if self.is_http else {}
        return self.library.InferenceServerClient(self.address, **options, **more)

    def input(self, name: str, array: Any, datatype: str = "FP32", **how: Any) -> Any:
        """Return an input with its values."""
        tensor = self.library.InferInput(name, list(array.shape), datatype)
        tensor.set_data_from_numpy(array, **how)
        return tensor

    def output(self, name: str, **how: Any) -> Any:
        """Return an output that is wanted."""
        return self.library.InferRequestedOutput(name, **how)

    def infer(self, model: str = "mirror", inputs: Any = None, **more: Any) -> Any:
        """Ask the mirror, unless another model is named."""
        return self.client.infer(model, inputs or [self.input("x", X)], **more)

    def status(self, http: str, grpc: str) -> str:
        """Return the word for a status."""
        return http if self.is_http else f"StatusCode.{grpc}"

    def model_stats(self, model: str) -> dict[str, Any]:
        """Return a model's statistics."""
        if self.is_http:
            found = self.client.get_inference_statistics(model)
        else:
            found = self.client.get_inference_statistics(model, as_json=True)
        stats: dict[str, Any] = found["model_stats"][0]
        return stats

    def index(self) -> dict[str, str]:
        """Return the state of each model."""
        if self.is_http:
            entries = self.client.get_model_repository_index()
        else:
            entries = self.client.get_model_repository_index(as_json=True)["models"]
        return {entry["name"]: entry["state"] for entry in entries}


def check(function: Check) -> Check:
    """Add a check to the list."""
    CHECKS.append(function)
    return function


def check_http(function: Check) -> Check:
    """Add a check of what only REST has."""
    HTTP_ONLY.append(function)
    return function


def expect(found: object, wanted: object) -> None:
    """Fail unless both are equal."""
    if found != wanted:
        raise AssertionError(f"{found!r} instead of {wanted!r}")


def expect_status(server: Server, http: str, grpc: str, call: Callable[[], object]) -> None:
    """Fail unless a call fails with a status and a sentence."""
    try:
        call()
    except InferenceServerException as error:
        expect(error.status(), server.status(http, grpc))
        expect(bool(error.message()), True)
    else:
        raise AssertionError("it did not fail")
