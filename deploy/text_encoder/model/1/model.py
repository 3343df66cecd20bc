# ruff: noqa: INP001  # a version folder is data, not a package
"""Vectors of texts by all-MiniLM-L6-v2: texts of like meaning have vectors of like direction.

Source: Reimers & Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", EMNLP 2019; the graph is
written by `python -m deploy.text_encoder`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime

from inference_core.errors import ConfigurationError, InvalidInput
from inference_core.tensors import Array, Arrays

try:
    from tokenizers import Tokenizer
except ImportError as missing:
    raise ConfigurationError(
        f"it needs tokenizers ({missing}): .venv/bin/pip install -e '.[embeddings]', then load the model again."
    ) from missing

MAX_CHARACTERS = 20_000
MAX_TOKENS = 256
TOGETHER = 8
WIDTH = 384
SEVERITY_ERROR = 3


class Model:
    """The encoder behind the runtime's interface; it has no parameters and computes on one thread."""

    def __init__(self, folder: Path, parameters: Mapping[str, object]) -> None:
        if parameters:
            raise ConfigurationError(f"parameters.{min(parameters)}: this model has no parameters.")
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_TOKENS)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = SEVERITY_ERROR
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])

    def predict(self, inputs: Arrays) -> Arrays:
        """Return embedding FP32 [rows, 384], each row of length 1, for text BYTES [rows].

        Raises InvalidInput for a text that is not UTF-8 or has too many characters.
        """
        tokens = [self._tokens(text) for text in inputs["text"]]
        answer = np.empty((len(tokens), WIDTH), np.float32)
        # Texts of like length together: a short one is filled up to the longest beside it, and costs as much.
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        for start in range(0, len(order), TOGETHER):
            rows = order[start : start + TOGETHER]
            answer[rows] = self._vectors([tokens[row] for row in rows])
        return {"embedding": answer}

    def close(self) -> None:
        """Free the weights."""
        del self._session

    def _tokens(self, text: bytes) -> Sequence[int]:
        ids: Sequence[int] = self._tokenizer.encode(text_of(text)).ids
        return ids

    def _vectors(self, tokens: Sequence[Sequence[int]]) -> Array:
        ids = np.zeros((len(tokens), max(map(len, tokens))), np.int64)
        mask = np.zeros_like(ids)
        for row, found in enumerate(tokens):
            ids[row, : len(found)] = found
            mask[row, : len(found)] = 1
        vectors: Array = self._session.run(["embedding"], {"input_ids": ids, "attention_mask": mask})[0]
        return vectors


def text_of(content: bytes) -> str:
    """Return a text; raises InvalidInput for one that is not UTF-8 or too long."""
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"The text is not UTF-8: {error.reason} at byte {error.start}.") from error
    if len(text) > MAX_CHARACTERS:
        raise InvalidInput(f"The text has {len(text)} characters; this model reads at most {MAX_CHARACTERS}.")
    return text
