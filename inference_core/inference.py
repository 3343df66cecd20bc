"""What a model answered: the value that comes back up the staircase in both programs."""

from __future__ import annotations

import msgspec

from inference_core.tensors import Arrays


class Inference(msgspec.Struct, frozen=True, gc=False):
    """Named output arrays, and the model and version that made them."""

    model: str
    version: str
    outputs: Arrays
