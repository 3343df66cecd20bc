"""A small encoder of BERT's kind with drawn weights, and what it must answer, written down once more in plain numpy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from deploy.text_encoder.graph import Shape

Numbers = npt.NDArray[np.float32]
WORDS, PLACES = 20, 12
SHAPE = Shape(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, layer_norm_eps=1e-12, hidden_act="gelu")
WIDE = 4 * SHAPE.hidden_size


def drawn_weights() -> dict[str, Numbers]:
    """Return weights under PyTorch's names, the same each time."""
    draw = np.random.default_rng(7)
    width = SHAPE.hidden_size
    sizes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (WORDS, width),
        "embeddings.position_embeddings.weight": (PLACES, width),
        "embeddings.token_type_embeddings.weight": (2, width),
    }
    layers = {f"encoder.layer.{layer}": None for layer in range(SHAPE.num_hidden_layers)}
    for name in layers:
        for role in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            sizes |= {f"{name}.{role}.weight": (width, width), f"{name}.{role}.bias": (width,)}
        sizes |= {f"{name}.intermediate.dense.weight": (WIDE, width), f"{name}.intermediate.dense.bias": (WIDE,)}
        sizes |= {f"{name}.output.dense.weight": (width, WIDE), f"{name}.output.dense.bias": (width,)}
    normed = ["embeddings", *(f"{name}.{part}" for name in layers for part in ("attention.output", "output"))]
    for name in normed:
        sizes |= {f"{name}.LayerNorm.weight": (width,), f"{name}.LayerNorm.bias": (width,)}
    return {name: draw.normal(size=size).astype(np.float32) for name, size in sizes.items()}


def answer(weights: Mapping[str, Numbers], tokens: Sequence[int]) -> Numbers:
    """Return the vector of one text."""
    rows = weights["embeddings.word_embeddings.weight"][list(tokens)]
    rows = rows + weights["embeddings.position_embeddings.weight"][: len(tokens)]
    rows = rows + weights["embeddings.token_type_embeddings.weight"][0]
    rows = _normed(weights, "embeddings.LayerNorm", rows)
    for layer in range(SHAPE.num_hidden_layers):
        name = f"encoder.layer.{layer}"
        heard = _dense(weights, f"{name}.attention.output.dense", _attention(weights, f"{name}.attention.self", rows))
        rows = _normed(weights, f"{name}.attention.output.LayerNorm", rows + heard)
        wide = _dense(weights, f"{name}.intermediate.dense", rows)
        wide = wide * 0.5 * (1 + np.vectorize(math.erf)(wide / math.sqrt(2)))
        rows = _normed(weights, f"{name}.output.LayerNorm", rows + _dense(weights, f"{name}.output.dense", wide))
    mean: Numbers = rows.mean(axis=0)
    return mean / np.linalg.norm(mean)


def _attention(weights: Mapping[str, Numbers], name: str, rows: Numbers) -> Numbers:
    query, key, value = (_dense(weights, f"{name}.{role}", rows) for role in ("query", "key", "value"))
    heads = []
    for columns in np.split(np.arange(SHAPE.hidden_size), SHAPE.num_attention_heads):
        scores = query[:, columns] @ key[:, columns].T / math.sqrt(len(columns))
        shares = np.exp(scores - scores.max(axis=1, keepdims=True))
        heads.append(shares / shares.sum(axis=1, keepdims=True) @ value[:, columns])
    return np.concatenate(heads, axis=1)


def _dense(weights: Mapping[str, Numbers], name: str, rows: Numbers) -> Numbers:
    return rows @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def _normed(weights: Mapping[str, Numbers], name: str, rows: Numbers) -> Numbers:
    centred = rows - rows.mean(axis=1, keepdims=True)
    scaled: Numbers = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + SHAPE.layer_norm_eps)
    return scaled * weights[f"{name}.weight"] + weights[f"{name}.bias"]
