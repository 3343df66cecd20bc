"""Runs `<version>/model.onnx` with ONNX Runtime on the CPU.

A graph that was exported for one row computes the rows of a call one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from inference_core.errors import ConfigurationError, InvalidInput
from inference_core.tensors import Array, Arrays
from model_service.contents import files_of
from model_service.description import Parameter, Tensor
from model_service.repository import ModelOnDisk
from model_service.runtime import Runtime
from model_service.thread_counts import counts_of

FILE = "model.onnx"
SEVERITY_ERROR = 3
ONE_ROW = 1
THREADS = ("intra_op_threads", "inter_op_threads")
DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


class OnnxRuntime:
    """An inference session that computes the outputs in `wanted`, or all. ONNX strings are UTF-8, so BYTES must be."""

    def __init__(self, session: onnxruntime.InferenceSession, wanted: Sequence[str], *, only_computes: bool) -> None:
        self._session = session
        self.only_computes = only_computes
        given = session.get_inputs()
        asked = [node for node in session.get_outputs() if not wanted or node.name in wanted]
        self.inputs = _tensors("input", given)
        self.outputs = _tensors("output", asked)
        self.row_by_row = any(node.shape[0] == ONE_ROW for node in (*given, *asked))
        self._outputs = [tensor.name for tensor in self.outputs]

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`; raises InvalidInput for BYTES that are not UTF-8.

        Raises it also for rows that a graph for one row answers with different shapes.
        """
        feed = {name: _to_strings(name, array) if array.dtype == object else array for name, array in inputs.items()}
        results = self._each_row(feed) if self.row_by_row else self._session.run(self._outputs, feed)
        return {
            name: _to_bytes(array) if array.dtype == object else array
            for name, array in zip(self._outputs, results, strict=True)
        }

    def _each_row(self, feed: Arrays) -> list[Array]:
        rows = range(len(next(iter(feed.values()))))
        parts = [
            self._session.run(self._outputs, {name: array[row : row + 1] for name, array in feed.items()})
            for row in rows
        ]
        return [_joined(name, column) for name, column in zip(self._outputs, zip(*parts, strict=True), strict=True)]

    def close(self) -> None:
        """As `Runtime.close`."""
        del self._session


def load(model: ModelOnDisk, parameters: Mapping[str, Parameter]) -> Runtime:
    """Open the graph; of its outputs only those are computed that model.toml lists, or all where it lists none.

    Parameters: `intra_op_threads` and `inter_op_threads`, both 1 when left out. Data outside of model.onnx must lie in
    the version's folder, which ONNX Runtime sees to, and under no other name, which it does not.
    Raises ConfigurationError with the file and the reason.
    """
    file = model.folder / FILE
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(SEVERITY_ERROR)
    options = _options(model, parameters)
    _check_links(model.folder, file)
    session = _open(file, options)
    is_single = options.intra_op_num_threads == options.inter_op_num_threads == 1
    wanted = [tensor.name for tensor in model.description.outputs]
    there = [node.name for node in session.get_outputs()]
    for name in wanted:
        if name not in there:
            raise ConfigurationError(f"{model.file}: outputs: the model has {', '.join(there)}, but no {name!r}.")
    try:
        return OnnxRuntime(session, wanted, only_computes=is_single)
    except ConfigurationError as error:
        raise ConfigurationError(f"Model file {file}: {error.message}") from error


def _options(model: ModelOnDisk, parameters: Mapping[str, Parameter]) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SEVERITY_ERROR
    options.intra_op_num_threads, options.inter_op_num_threads = counts_of(model, parameters, THREADS)
    return options


def _open(file: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    if not file.is_file():
        raise ConfigurationError(f"Model file {file} is missing.")
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class below Exception
        raise ConfigurationError(f"Model file {file} cannot be loaded: {error}") from error


def _check_links(folder: Path, graph: Path) -> None:
    linked = [file for file in files_of(folder) if file != graph and file.stat().st_nlink > 1]
    if linked and graph.is_file():
        data = graph.read_bytes()
        for file in linked:
            if os.fsencode(file.name) in data:
                raise ConfigurationError(
                    f"Model file {graph} cannot be loaded: its data {file} is a hard link, which may be a file from "
                    "outside; copy the file itself there."
                )


def _tensors(kind: str, nodes: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(_tensor(kind, node) for node in nodes)


def _tensor(kind: str, node: Any) -> Tensor:
    datatype = DATATYPES.get(node.type)
    if datatype is None:
        raise ConfigurationError(
            f"{kind} {node.name!r} is a {node.type}, not a tensor. List the outputs that you want in model.toml, or "
            "export the model without it (skl2onnx: options={'zipmap': False})."
        )
    if not node.shape or (isinstance(node.shape[0], int) and node.shape[0] != ONE_ROW):
        raise ConfigurationError(
            f"{kind} {node.name!r} has the shape {node.shape}; the first dimension counts rows, so it must be open, or "
            "1 in a graph that takes one row at a time. Export the model with a dynamic batch axis (torch.onnx.export: "
            f"dynamic_axes={{{node.name!r}: {{0: 'rows'}}}})."
        )
    # A symbol, or nothing at all, stands for any size.
    sizes = [size if isinstance(size, int) and size > 0 else -1 for size in node.shape[1:]]
    return Tensor(node.name, datatype, (-1, *sizes))


def _joined(name: str, parts: Sequence[Array]) -> Array:
    if len({part.shape[1:] for part in parts}) > 1:
        raise InvalidInput(f"The output {name} has another shape for each of these rows; send them one by one.")
    return np.concatenate(parts)


def _to_strings(name: str, array: Array) -> Array:
    strings = np.empty(array.shape, object)
    try:
        strings.flat[:] = [element.decode() for element in array.flat]
    except UnicodeDecodeError as error:
        raise InvalidInput(f"Input {name} holds bytes that are not UTF-8.") from error
    return strings


def _to_bytes(array: Array) -> Array:
    encoded = np.empty(array.shape, object)
    encoded.flat[:] = [element.encode() for element in array.flat]
    return encoded
