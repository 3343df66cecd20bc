"""The origin's contract in tensors: finite rows in, one class out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_core.classification import (
    NOT_NUMBERS,
    Classification,
    classification_of,
    features_input,
    prompt_input,
)
from inference_core.errors import InvalidInput, ModelFailed
from inference_core.tensors import Arrays, datatype_of

LARGEST = float(np.finfo(np.float32).max)


def answer(**outputs: Any) -> Arrays:
    """Return a model's outputs for one row, with a class and a confidence unless others are given."""
    return {name: np.array([value]) for name, value in ({"class_id": 2, "confidence": 0.75} | outputs).items()}


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
def test_finite_features_are_one_row(features: list[float]) -> None:
    """Numbers that FP32 holds become the tensor `features` of shape [1, n] with the same values."""
    arrays = features_input(features)
    assert list(arrays) == ["features"]
    assert arrays["features"].shape == (1, len(features))
    assert datatype_of(arrays["features"]) == "FP32"
    assert arrays["features"][0].tolist() == features


def test_no_feature_at_all_is_refused() -> None:
    """An empty row gets a sentence of its own."""
    with pytest.raises(InvalidInput, match="must not be empty"):
        features_input([])


@given(
    st.lists(st.floats(width=32), max_size=5),
    st.one_of(
        st.sampled_from([float("nan"), float("inf"), float("-inf")]),
        st.floats(min_value=LARGEST * 1.001, allow_infinity=False),
        st.floats(max_value=-LARGEST * 1.001, allow_infinity=False),
    ),
)
def test_features_that_are_not_finite_are_refused(others: list[float], value: float) -> None:
    """NaN, an infinity or a number that FP32 would make one is refused in the origin's words."""
    with pytest.raises(InvalidInput) as caught:
        features_input([*others, value])
    assert caught.value.message == NOT_NUMBERS == "Features must be an array of numbers"


@given(st.text())
def test_a_prompt_is_its_utf8(prompt: str) -> None:
    """A text becomes the tensor `prompt`, BYTES [1], in UTF-8."""
    array = prompt_input(prompt)["prompt"]
    assert array.shape == (1,)
    assert datatype_of(array) == "BYTES"
    assert array[0] == prompt.encode()


@given(st.integers(0, 2**31 - 1), st.floats(0, 1), st.text())
def test_a_class_is_read_from_the_outputs(class_id: int, confidence: float, label: str) -> None:
    """Class, confidence and label are the first row's."""
    outputs = answer(class_id=class_id, confidence=confidence)
    outputs["label"] = np.array([label.encode()], object)
    assert classification_of("m", outputs) == Classification(class_id, confidence, label)


def test_a_model_may_name_no_classes() -> None:
    """Without the output `label` the label is empty."""
    assert classification_of("m", answer()) == Classification(2, 0.75, "")


def test_a_label_that_is_not_utf8_is_still_text() -> None:
    """Bytes that are no UTF-8 are replaced in the label."""
    outputs = answer()
    outputs["label"] = np.array([b"a\xff"], object)
    assert classification_of("m", outputs).label == "a\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize("confidence", [float("nan"), float("inf"), float("-inf")])
def test_a_confidence_is_a_number(confidence: float) -> None:
    """A confidence that is not finite is the model's failure, named."""
    with pytest.raises(ModelFailed, match="Model m "):
        classification_of("m", answer(confidence=confidence))


@pytest.mark.parametrize("missing", ["class_id", "confidence"])
def test_a_model_that_does_not_classify_is_named(missing: str) -> None:
    """A model without a class or a confidence is refused with what it answers and how to ask it."""
    outputs = answer(scores=1.0)
    del outputs[missing]
    with pytest.raises(InvalidInput, match=r"Model m does not classify: .*scores.*/v2/models/m/infer"):
        classification_of("m", outputs)
