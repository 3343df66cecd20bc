"""The sentiment model: VADER's answers, bounded and total over whatever text arrives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from inference_core.errors import ConfigurationError, InvalidInput
from inference_core.tensors import Array, Arrays
from model_service.loading import load
from tests.model_service.repository_tree import shipped, source_of

RUNTIME = load(shipped("sentiment"))
SOURCE: Any = source_of(RUNTIME)
VADER = SentimentIntensityAnalyzer()
WINDOWED = SOURCE.WindowedAnalyzer()
LABELS = [b"Negative", b"Neutral", b"Positive"]
PHRASES = st.sampled_from(
    [
        "good",
        "AMAZING",
        "terrible!",
        "bad ass",
        "the film",
        "a",
        "😹",
        ":)",
        "not",
        "isn't",
        "no",
        "nor",
        "never so",
        "never this",
        "without doubt",
        "least",
        "at least",
        "very",
        "kind of",
        "sort of",
        "but",
        "the shit",
        "to die for",
        "kiss of death",
        "yeah right",
    ]
)


def prompts(*texts: bytes) -> Array:
    """Return the BYTES tensor of these prompts."""
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def predict(*texts: bytes) -> Arrays:
    """Ask the shipped model."""
    return RUNTIME.predict({"prompt": prompts(*texts)})


@pytest.mark.parametrize(
    ("text", "class_id"),
    [
        ("I love this, it is wonderful!", 2),
        ("This is not good at all.", 0),
        ("The table has four legs.", 1),
        ("", 1),
        ("Catch 😁", 2),
    ],
)
def test_texts_get_the_expected_class(text: str, class_id: int) -> None:
    """Plain praise, negated praise, a plain fact, nothing and an emoji are told apart."""
    outputs = predict(text.encode())
    assert outputs["class_id"].tolist() == [class_id]
    assert outputs["label"].tolist() == [LABELS[class_id]]


def test_a_batch_keeps_its_order_and_types() -> None:
    """Each row's answer stands at the row's place, in the declared dtypes."""
    outputs = predict(b"awful", b"table", b"great")
    assert outputs["label"].tolist() == LABELS
    assert [outputs[name].dtype for name in outputs] == [np.int32, np.float32, np.object_, np.float32]


@pytest.mark.parametrize(
    ("compound", "class_id", "confidence"),
    [
        (1.0, 2, 1.0),
        (0.05, 2, 0.0),
        (0.0499, 1, 0.002),
        (0.0, 1, 1.0),
        (-0.0499, 1, 0.002),
        (-0.05, 0, 0.0),
        (-1.0, 0, 1.0),
    ],
)
def test_thresholds_and_confidence_are_as_documented(compound: float, class_id: int, confidence: float) -> None:
    """The classes meet at 0.05 and -0.05, where the confidence is 0; at a class's far end it is 1."""
    assert SOURCE.class_of(compound) == class_id
    assert SOURCE.confidence_of(compound) == pytest.approx(confidence)


@given(text=st.text(max_size=200))
def test_any_text_has_an_answer(text: str) -> None:
    """Every text within the limits gets one class, its label and a confidence from 0 to 1."""
    outputs = predict(text.encode(errors="replace"))
    assert outputs["label"][0] == LABELS[outputs["class_id"][0]]
    assert 0 <= outputs["confidence"][0] <= 1
    assert -1 <= outputs["compound"][0] <= 1


@given(phrases=st.lists(PHRASES, min_size=1, max_size=20))
@example(phrases=["the film", "a", "kiss of death"])  # reads two words ahead
@example(phrases=["the film", "a", "bad ass"])  # reads one word ahead
@example(phrases=["the film", "never so", "very", "good"])  # reads three words back
@example(phrases=["the film", "sort of", "a", "good"])  # reads an idiom three words back
@example(phrases=["without doubt", "good"])
def test_scores_are_those_of_the_package(phrases: list[str]) -> None:
    """Showing VADER's rules only the words they judge changes no score."""
    text = " ".join(phrases)
    assert WINDOWED.polarity_scores(text) == VADER.polarity_scores(text)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"good \xc3", b"\xed\xa0\x80"])
def test_bytes_that_are_not_utf8_are_invalid_input(text: bytes) -> None:
    """Bytes that are no text are the client's error, said in a sentence."""
    with pytest.raises(InvalidInput, match="not UTF-8"):
        predict(text)


def test_the_longest_text_is_read_and_a_longer_one_refused() -> None:
    """10,000 characters are read, one more is refused with the figure, and so is a megabyte."""
    assert predict("ü".encode() * 10_000)["class_id"].tolist() == [1]
    with pytest.raises(InvalidInput, match="10001 characters; this model reads at most 10000"):
        predict(b"x" * 10_001)
    with pytest.raises(InvalidInput, match="at most 10000"):
        predict(b"good " * 200_000)


def test_emojis_are_limited_too() -> None:
    """500 emojis are read, one more is refused: VADER spells each out in several words."""
    assert predict("😁".encode() * 500)["class_id"].tolist() == [2]
    with pytest.raises(InvalidInput, match="501 emojis; this model reads at most 500"):
        predict("😁".encode() * 501)


def test_parameters_are_refused() -> None:
    """A parameter in model.toml that nothing would read is an error."""
    with pytest.raises(ConfigurationError, match=r"parameters\.limit"):
        SOURCE.Model(shipped("sentiment").folder, {"limit": 1})
