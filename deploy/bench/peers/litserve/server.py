"""LitServe: API processes on uvicorn hand requests to worker processes through queues.

Annotations are objects here, not strings: LitServe reads the one of `decode_request`, and FastAPI's Request means that
the JSON document is handed over as it is.
"""

import os
import sys
from typing import Any

import litserve
import numpy as np
from fastapi import Request

from deploy.bench.peers.work import VARIABLE, load

BATCH, PROCESSES = int(os.environ["BENCH_BATCH"]), int(os.environ["BENCH_PROCESSES"])


class Classifier(litserve.LitAPI):
    """With a batch of 1 LitServe calls predict with single requests, otherwise with what `batch` returned."""

    def setup(self, device: str) -> None:  # noqa: ARG002  # the signature is LitServe's
        """Load the work in the worker process."""
        self._predict = load(os.environ[VARIABLE])

    def decode_request(self, request: Request) -> Any:  # what arrives is its JSON document
        """Return one row."""
        return np.array(request["features"], np.float32)

    def batch(self, inputs: list[Any]) -> Any:
        """Return the rows as one array."""
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        """Return class and confidence for each row."""
        class_ids, confidences = self._predict(np.atleast_2d(x))
        pairs = list(zip(class_ids.tolist(), confidences.tolist(), strict=True))
        return pairs if BATCH > 1 else pairs[0]

    def unbatch(self, output: Any) -> Any:
        """Return the answers one by one."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Return the body of an answer."""
        class_id, confidence = output
        return {"class_id": class_id, "confidence": confidence}


if __name__ == "__main__":
    server = litserve.LitServer(
        Classifier(max_batch_size=BATCH, batch_timeout=0.0),
        accelerator="cpu",
        workers_per_device=PROCESSES,
        fast_queue=False,
    )
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=PROCESSES,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
