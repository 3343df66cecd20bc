"""Triton's Python backend with the shared work: the requests of a dynamic batch are computed as one array."""

from __future__ import annotations

import os
import sys
from typing import Any

# The stub embeds an isolated interpreter, which does not read PYTHONPATH by itself.
sys.path += os.environ["PYTHONPATH"].split(os.pathsep)

import numpy as np  # found through the line above
import triton_python_backend_utils as triton

from deploy.bench.peers.work import load  # as numpy


class TritonPythonModel:
    """The class that the backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the work that the model is named for."""
        self._predict = load(args["model_name"])

    def execute(self, requests: list[Any]) -> list[Any]:
        """Return one response for each request of the batch."""
        inputs = [triton.get_input_tensor_by_name(request, "features").as_numpy() for request in requests]
        class_id, confidence = self._predict(np.concatenate(inputs))
        responses, start = [], 0
        for array in inputs:
            rows = slice(start, start := start + len(array))
            tensors = [
                triton.Tensor("class_id", class_id[rows].reshape(-1, 1)),
                triton.Tensor("confidence", confidence[rows].reshape(-1, 1)),
            ]
            responses.append(triton.InferenceResponse(output_tensors=tensors))
        return responses
