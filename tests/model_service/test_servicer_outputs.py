"""Forms of what a worker answers: classes, and tensors too large for protobuf's own copies."""

from __future__ import annotations

import numpy as np

from inference_core.tensors import read_tensors
from tests.model_service.worker import infer_request, running_worker


async def test_an_output_may_be_asked_for_as_classes() -> None:
    """The classification extension answers with the largest values as texts."""
    request = infer_request()
    request.outputs.add(name="doubled").parameters["classification"].int64_param = 1
    async with running_worker() as worker:
        answer = await worker.protocol.ModelInfer(request)
    assert answer.outputs[0].datatype == "BYTES"
    assert list(answer.outputs[0].shape)[1:] == [1]


async def test_large_tensors_cross_like_small_ones() -> None:
    """A request and an answer that are too large for protobuf's own copies have the same values."""
    large = np.arange(40_000, dtype="<f4").reshape(1, -1)
    request = infer_request(arrays={"features": large})
    async with running_worker() as worker:
        answer = await worker.protocol.ModelInfer(request)
    outputs = read_tensors(answer.outputs, answer.raw_output_contents)
    assert (outputs["doubled"] == large * 2).all()
