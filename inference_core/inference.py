"""What a model answered: the value that comes back up the staircase in both programs."""

from __future__ import annotations

from dataclasses import dataclass

from inference_core.tensors import Arrays


@dataclass(frozen=True, slots=True)
class Inference:
    """Named output arrays, and the model and version that made them."""

    model: str
    version: str
    outputs: Arrays
