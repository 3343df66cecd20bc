"""The origin's contract, `/predict`, in terms of tensors: one row in, one class out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np

from inference_core.errors import InvalidInput, ModelFailed
from inference_core.tensors import Array, Arrays

FP32_LIMIT = float.fromhex("0x1.ffffffp+127")
"""The least number that rounds to infinity as FP32; every comparison with NaN is false, too."""

NOT_NUMBERS = "Features must be an array of numbers"


class Classification(msgspec.Struct, frozen=True):
    """One row's class; `confidence` lies between 0 and 1, `label` is empty where a model names no classes."""

    class_id: int
    confidence: float
    label: str


def features_input(features: Sequence[float]) -> Arrays:
    """Return the input tensor `features`, FP32 [1, n].

    Raises InvalidInput with the origin's sentence for a value that is not finite as FP32, and for no value at all.
    """
    if not len(features):
        raise InvalidInput("Features must not be empty; send at least one number.")
    # Compared in C, value by value: for the short rows of a request that takes a fifth of numpy's checks.
    if not all(map(FP32_LIMIT.__gt__, map(abs, features))):
        raise InvalidInput(NOT_NUMBERS)
    return {"features": np.array([features], np.float32)}


def prompt_input(prompt: str) -> Arrays:
    """Return the input tensor `prompt`, BYTES [1]."""
    array = np.empty(1, object)
    array[0] = prompt.encode()
    return {"prompt": array}


def classification_of(model: str, outputs: Arrays) -> Classification:
    """Return the first row's class from the outputs `class_id`, `confidence` and, if there is one, `label`.

    Raises InvalidInput for a model that does not classify, ModelFailed for a confidence that is not finite.
    """
    class_id, shares, label = outputs.get("class_id"), outputs.get("confidence"), outputs.get("label")
    if class_id is None or shares is None:
        told = ", ".join(outputs)
        raise InvalidInput(f"Model {model} does not classify: it answers with {told}. Use /v2/models/{model}/infer.")
    if not class_id.size or not shares.size:
        raise ModelFailed(f"Model {model} answered with no row.")
    # Through its shortest decimal form: 0.44 as FP32 is to stay 0.44, not to become 0.4399999976158142.
    confidence = float(str(shares[0] if shares.ndim == 1 else shares.flat[0]))
    if not math.isfinite(confidence):
        raise ModelFailed(f"Model {model} answered with a confidence that is not a number.")
    return Classification(int(class_id.item(0)), confidence, "" if label is None else _text(label))


def _text(label: Array) -> str:
    return bytes(label.item(0)).decode(errors="replace")
