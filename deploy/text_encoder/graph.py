"""A sentence encoder of BERT's kind as an ONNX graph, from its weights under the names that PyTorch gives them.

From `input_ids` and `attention_mask` [rows, tokens] to `embedding` [rows, width]: the mean of the last layer's vectors
where the mask is 1, brought to length 1. Devlin et al., "BERT" (2019); Reimers & Gurevych, "Sentence-BERT" (2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from inference_core.errors import ConfigurationError
from inference_core.tensors import Array

OPSET = 20
IR_VERSION = 9
NEVER = -1e9
"""Added to the score of a place that the mask leaves out: after the softmax nothing is left of it."""


class Shape(msgspec.Struct, frozen=True):
    """What config.json says of the encoder; `gelu` is the only activation that is known here."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    layer_norm_eps: float
    hidden_act: str


class Graph:
    """Nodes and weights of a graph in the making; what is added is known by the name that comes back."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._weights = weights

    def constant(self, array: Array) -> str:
        """Add numbers of our own."""
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def weight(self, name: str) -> str:
        """Add one of the encoder's weights; raises ConfigurationError where there is none of that name."""
        return self.constant(self._weight(name))

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node of one output."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    def dense(self, name: str, rows: str) -> str:
        """Add a layer; PyTorch keeps its matrix as [out, in]."""
        product = self.add("MatMul", rows, self.constant(self._weight(f"{name}.weight").T))
        return self.add("Add", product, self.weight(f"{name}.bias"))

    def normed(self, name: str, rows: str, epsilon: float) -> str:
        """Add a layer's normalisation."""
        scale, shift = self.weight(f"{name}.weight"), self.weight(f"{name}.bias")
        return self.add("LayerNormalization", rows, scale, shift, axis=-1, epsilon=epsilon)

    def _weight(self, name: str) -> Array:
        if name not in self._weights:
            raise ConfigurationError(f"The encoder has no weights named {name!r}, so it is none of BERT's kind.")
        return self._weights[name]


def encoder(weights: Mapping[str, Array], shape: Shape) -> onnx.ModelProto:
    """Return the whole graph; raises ConfigurationError for weights or an activation of another kind of model."""
    if shape.hidden_act != "gelu":
        raise ConfigurationError(f"The encoder's activation is {shape.hidden_act!r}; only 'gelu' is known here.")
    graph = Graph(weights)
    mask = graph.add("Cast", "attention_mask", to=TensorProto.FLOAT)
    allowed = _allowed(graph, mask)
    rows = _embedded(graph, shape)
    for layer in range(shape.num_hidden_layers):
        rows = _layer(graph, f"encoder.layer.{layer}", rows, allowed, shape)
    _pooled(graph, rows, mask)
    return _model(graph, shape.hidden_size)


def _allowed(graph: Graph, mask: str) -> str:
    left_out = graph.add("Sub", graph.constant(np.array(1, np.float32)), mask)
    score = graph.add("Mul", left_out, graph.constant(np.array(NEVER, np.float32)))
    return graph.add("Unsqueeze", score, graph.constant(np.array([1, 2], np.int64)))


def _embedded(graph: Graph, shape: Shape) -> str:
    words = graph.add("Gather", graph.weight("embeddings.word_embeddings.weight"), "input_ids")
    length = graph.add("Shape", "input_ids", start=1, end=2)
    first = graph.constant(np.array([0], np.int64))
    places = graph.add("Slice", graph.weight("embeddings.position_embeddings.weight"), first, length, first)
    kinds = graph.add("Gather", graph.weight("embeddings.token_type_embeddings.weight"), first)
    summed = graph.add("Add", graph.add("Add", words, kinds), places)
    return graph.normed("embeddings.LayerNorm", summed, shape.layer_norm_eps)


def _layer(graph: Graph, name: str, rows: str, allowed: str, shape: Shape) -> str:
    seen = graph.dense(
        f"{name}.attention.output.dense", _attention(graph, f"{name}.attention.self", rows, allowed, shape)
    )
    rows = graph.normed(f"{name}.attention.output.LayerNorm", graph.add("Add", seen, rows), shape.layer_norm_eps)
    wide = graph.add("Gelu", graph.dense(f"{name}.intermediate.dense", rows))
    thought = graph.dense(f"{name}.output.dense", wide)
    return graph.normed(f"{name}.output.LayerNorm", graph.add("Add", thought, rows), shape.layer_norm_eps)


def _attention(graph: Graph, name: str, rows: str, allowed: str, shape: Shape) -> str:
    heads, width = shape.num_attention_heads, shape.hidden_size // shape.num_attention_heads
    split = graph.constant(np.array([0, 0, heads, width], np.int64))  # 0: as it is
    query, key, value = (
        graph.add("Transpose", graph.add("Reshape", graph.dense(f"{name}.{role}", rows), split), perm=order)
        for role, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3]))
    )
    scale = graph.constant(np.array(1 / math.sqrt(width), np.float32))
    scores = graph.add("Mul", graph.add("MatMul", query, key), scale)
    shares = graph.add("Softmax", graph.add("Add", scores, allowed), axis=-1)
    heard = graph.add("Transpose", graph.add("MatMul", shares, value), perm=[0, 2, 1, 3])
    return graph.add("Reshape", heard, graph.constant(np.array([0, 0, shape.hidden_size], np.int64)))


def _pooled(graph: Graph, rows: str, mask: str) -> None:
    last, tokens = graph.constant(np.array([-1], np.int64)), graph.constant(np.array([1], np.int64))
    kept = graph.add("Mul", rows, graph.add("Unsqueeze", mask, last))
    total = graph.add("ReduceSum", kept, tokens, keepdims=0)
    mean = graph.add("Div", total, graph.add("ReduceSum", mask, tokens, keepdims=1))
    graph.nodes.append(helper.make_node("LpNormalization", [mean], ["embedding"], axis=-1, p=2))


def _model(graph: Graph, width: int) -> onnx.ModelProto:
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["rows", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["rows", width])
    made = helper.make_graph(graph.nodes, "text_encoder", inputs, [output], graph.constants)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model)
    return model
