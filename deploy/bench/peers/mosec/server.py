"""mosec: a Rust front end hands batches to Python processes; msgspec reads and writes the JSON."""

from __future__ import annotations

import os
from typing import Any

import msgspec
import numpy as np
from mosec import Server, Worker

from deploy.bench.peers.work import VARIABLE, load

BATCH, PROCESSES = int(os.environ["BENCH_BATCH"]), int(os.environ["BENCH_PROCESSES"])
WAIT_MILLISECONDS = 1


class Request(msgspec.Struct):
    """One row."""

    features: list[float]
    model_name: str = ""


class Answer(msgspec.Struct):
    """Its class."""

    class_id: int
    confidence: float


class Classifier(Worker):
    """With a batch of 1 mosec hands over single requests, otherwise lists of them."""

    def __init__(self) -> None:
        super().__init__()
        self._predict = load(os.environ[VARIABLE])
        self._decoder = msgspec.json.Decoder(Request)
        self._encoder = msgspec.json.Encoder()

    def deserialize(self, data: bytes) -> Request:
        """Decode a body."""
        return self._decoder.decode(data)

    def serialize(self, data: Answer) -> bytes:
        """Encode an answer."""
        return self._encoder.encode(data)

    def forward(self, data: Any) -> Any:
        """Compute one request or a list of them."""
        return self._answers(data) if BATCH > 1 else self._answers([data])[0]

    def _answers(self, requests: list[Request]) -> list[Answer]:
        class_ids, confidences = self._predict(np.array([request.features for request in requests], np.float32))
        return list(map(Answer, class_ids.tolist(), confidences.tolist()))


if __name__ == "__main__":
    server = Server()
    server.append_worker(
        Classifier, num=PROCESSES, max_batch_size=BATCH, max_wait_time=WAIT_MILLISECONDS, route="/predict"
    )
    server.run()
