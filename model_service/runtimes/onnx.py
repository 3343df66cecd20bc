"""Runs `<version>/model.onnx` with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from inference_core.errors import ConfigurationError, InvalidInput
from inference_core.tensors import Array, Arrays
from model_service.description import Parameter, Tensor
from model_service.repository import ModelOnDisk
from model_service.runtime import Runtime
from model_service.thread_counts import counts_of

FILE = "model.onnx"
SEVERITY_ERROR = 3
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
        self.inputs = _tensors("input", session.get_inputs())
        self.outputs = _tensors("output", [node for node in session.get_outputs() if not wanted or node.name in wanted])
        self._outputs = [tensor.name for tensor in self.outputs]

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`; raises InvalidInput for BYTES that are not UTF-8."""
        feed = {name: _to_strings(name, array) if array.dtype == object else array for name, array in inputs.items()}
        results = self._session.run(self._outputs, feed)
        return {
            name: _to_bytes(array) if array.dtype == object else array
            for name, array in zip(self._outputs, results, strict=True)
        }

    def close(self) -> None:
        """As `Runtime.close`."""
        del self._session


def load(model: ModelOnDisk, parameters: Mapping[str, Parameter]) -> Runtime:
    """Open the graph; of its outputs only those are computed that model.toml lists, or all where it lists none.

    Parameters: `intra_op_threads` and `inter_op_threads`, both 1 when left out. Data outside of model.onnx must lie in
    the version's folder, which ONNX Runtime sees to.
    Raises ConfigurationError with the file and the reason.
    """
    file = model.folder / FILE
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(SEVERITY_ERROR)
    options = _options(model, parameters)
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


def _tensors(kind: str, nodes: Sequence[Any]) -> tuple[Tensor, ...]:
    return tuple(_tensor(kind, node) for node in nodes)


def _tensor(kind: str, node: Any) -> Tensor:
    datatype = DATATYPES.get(node.type)
    if datatype is None:
        raise ConfigurationError(
            f"{kind} {node.name!r} is a {node.type}, not a tensor. List the outputs that you want in model.toml, or "
            "export the model without it (skl2onnx: options={'zipmap': False})."
        )
    if not node.shape or isinstance(node.shape[0], int):
        raise ConfigurationError(
            f"{kind} {node.name!r} has the shape {node.shape}; the first dimension must be open, for it counts rows. "
            "Export the model with a dynamic batch axis."
        )
    # A symbol, or nothing at all, stands for any size.
    shape = tuple(size if isinstance(size, int) and size > 0 else -1 for size in node.shape)
    return Tensor(node.name, datatype, shape)


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
