# ruff: noqa: INP001  # a version folder is data, not a package
"""Sentiment of English text by VADER: a lexicon and rules, nothing learned.

Source: Hutto & Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
ICWSM 2014.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from inference_core.errors import ConfigurationError, InvalidInput
from inference_core.tensors import Arrays

MAX_CHARACTERS = 10_000
MAX_EMOJIS = 500
NEUTRAL_LIMIT = 0.05
LABELS = np.array([b"Negative", b"Neutral", b"Positive"], object)
NEGATIVE, NEUTRAL, POSITIVE = range(3)


class WindowedAnalyzer(SentimentIntensityAnalyzer):  # type: ignore[misc]  # the package ships no types
    """VADER with the same scores in far less time.

    Two of its rules read at most three words before and two after the word they judge, but copy the whole text
    for each such word; here they are shown those few words only.
    """

    @staticmethod
    def _negation_check(valence: float, words: list[str], distance: int, index: int) -> float:
        start = max(0, index - 3)
        original = SentimentIntensityAnalyzer._negation_check  # noqa: SLF001  # no public seam
        return float(original(valence, words[start : index + 1], distance, index - start))

    @staticmethod
    def _special_idioms_check(valence: float, words: list[str], index: int) -> float:
        start = max(0, index - 3)
        original = SentimentIntensityAnalyzer._special_idioms_check  # noqa: SLF001  # no public seam
        return float(original(valence, words[start : index + 3], index - start))


class Model:
    """VADER behind the runtime's interface; it has no parameters."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:  # noqa: ARG002  # the lexicon comes with the package
        if parameters:
            raise ConfigurationError(f"parameters.{min(parameters)}: this model has no parameters.")
        self._analyzer = WindowedAnalyzer()

    def predict(self, inputs: Arrays) -> Arrays:
        """Return class_id INT32, confidence FP32, label BYTES and compound FP32, each [rows], for prompt BYTES [rows].

        Raises InvalidInput for a prompt that is not UTF-8 or has too many characters or emojis.
        """
        texts = [self._text(prompt) for prompt in inputs["prompt"]]
        compounds = [self._analyzer.polarity_scores(text)["compound"] for text in texts]
        classes = np.array([class_of(compound) for compound in compounds], np.int32)
        return {
            "class_id": classes,
            "confidence": np.array([confidence_of(compound) for compound in compounds], np.float32),
            "label": LABELS[classes],
            "compound": np.array(compounds, np.float32),
        }

    def _text(self, prompt: bytes) -> str:
        try:
            text = prompt.decode()
        except UnicodeDecodeError as error:
            raise InvalidInput(f"The prompt is not UTF-8: {error.reason} at byte {error.start}.") from error
        _limit(len(text), MAX_CHARACTERS, "characters")
        _limit(_count(text, self._analyzer.emojis), MAX_EMOJIS, "emojis")
        return text


def class_of(compound: float) -> int:
    """Return the class of VADER's compound score (-1..1) by the thresholds that its authors give."""
    if compound >= NEUTRAL_LIMIT:
        return POSITIVE
    return NEGATIVE if compound <= -NEUTRAL_LIMIT else NEUTRAL


def confidence_of(compound: float) -> float:
    """Return how far a compound score lies inside its class: 0 at the threshold, 1 at the class's far end."""
    distance = abs(compound) - NEUTRAL_LIMIT
    return distance / (1 - NEUTRAL_LIMIT) if distance >= 0 else -distance / NEUTRAL_LIMIT


def _count(text: str, wanted: Container[str]) -> int:
    return sum(character in wanted for character in text)


def _limit(count: int, most: int, what: str) -> None:
    # VADER spells each emoji out in several words, and one of its rules takes time quadratic in the words.
    if count > most:
        raise InvalidInput(f"The prompt has {count} {what}; this model reads at most {most}.")
