"""The graph that is written for an encoder computes what the papers say."""

from __future__ import annotations

import msgspec
import numpy as np
import onnxruntime
import pytest

from deploy.text_encoder.graph import encoder
from inference_core.errors import ConfigurationError
from tests.deploy.text_encoder.small import SHAPE, Numbers, answer, drawn_weights

TEXTS = [[3, 7, 11, 2, 5, 1], [4], [19, 0, 6]]


def run(ids: list[list[int]], mask: list[list[int]]) -> Numbers:
    """Ask the graph of the small encoder."""
    session = onnxruntime.InferenceSession(encoder(drawn_weights(), SHAPE).SerializeToString())
    feed = {"input_ids": np.array(ids, np.int64), "attention_mask": np.array(mask, np.int64)}
    vectors: Numbers = session.run(["embedding"], feed)[0]
    return vectors


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_has_the_vector_of_the_formulas(text: list[int]) -> None:
    """Attention, layers, mean and length agree with the same formulas in plain numpy."""
    found = run([text], [[1] * len(text)])
    np.testing.assert_allclose(found, [answer(drawn_weights(), text)], atol=1e-5)
    assert np.linalg.norm(found) == pytest.approx(1)


def test_what_fills_a_row_up_changes_nothing() -> None:
    """Beside a longer text a shorter one keeps its vector, whatever stands in the places that the mask leaves out."""
    longest = max(map(len, TEXTS))
    ids = [[*text, *[9] * (longest - len(text))] for text in TEXTS]
    mask = [[int(place < len(text)) for place in range(longest)] for text in TEXTS]
    np.testing.assert_allclose(run(ids, mask), [answer(drawn_weights(), text) for text in TEXTS], atol=1e-5)


def test_weights_of_another_kind_are_refused() -> None:
    """A name that is missing is told, instead of a graph that means nothing."""
    weights = drawn_weights()
    del weights["encoder.layer.1.output.dense.bias"]
    with pytest.raises(ConfigurationError, match=r"no weights named 'encoder\.layer\.1\.output\.dense\.bias'"):
        encoder(weights, SHAPE)


def test_another_activation_is_refused() -> None:
    """One that is not known here is told by its name."""
    with pytest.raises(ConfigurationError, match="'relu'; only 'gelu' is known"):
        encoder(drawn_weights(), msgspec.structs.replace(SHAPE, hidden_act="relu"))
