"""Runs `<version>/model.onnx` with ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from inference_core.errors import ConfigurationError, InvalidInput
from inference_core.tensors import Array, Arrays
from model_service.repository import ModelOnDisk, Parameter, Tensor
from model_service.runtime import Runtime

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
    """An inference session; ONNX strings are UTF-8, so BYTES rows must be."""

    def __init__(self, session: onnxruntime.InferenceSession, outputs: Sequence[str], *, only_computes: bool) -> None:
        self._session = session
        self._outputs = list(outputs)
        self.only_computes = only_computes

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
    """Open the graph and hold it against model.toml.

    Parameters: `intra_op_threads` and `inter_op_threads`, whole numbers from 1, both 1 when left out.
    Every input of the graph must be declared; outputs that are not declared are not computed.
    Raises ConfigurationError with the file and the reason.
    """
    file = model.folder / FILE
    onnxruntime.disable_telemetry_events()
    onnxruntime.set_default_logger_severity(SEVERITY_ERROR)
    options = _options(model.file, parameters)
    session = _open(file, options)
    _check_agreement(model, session)
    is_single = options.intra_op_num_threads == options.inter_op_num_threads == 1
    return OnnxRuntime(session, [tensor.name for tensor in model.description.outputs], only_computes=is_single)


def _options(file: Path, parameters: Mapping[str, Parameter]) -> onnxruntime.SessionOptions:
    unknown = parameters.keys() - set(THREADS)
    if unknown:
        raise ConfigurationError(
            f"{file}: parameters.{min(unknown)}: there is no such parameter; known here: {', '.join(THREADS)}."
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SEVERITY_ERROR
    options.intra_op_num_threads, options.inter_op_num_threads = (_threads(file, parameters, name) for name in THREADS)
    return options


def _threads(file: Path, parameters: Mapping[str, Parameter], name: str) -> int:
    count = parameters.get(name, 1)
    if type(count) is not int or count < 1:
        raise ConfigurationError(f"{file}: parameters.{name} must be a whole number from 1.")
    return count


def _open(file: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    if not file.is_file():
        raise ConfigurationError(f"Model file {file} is missing.")
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors share no base class below Exception
        raise ConfigurationError(f"Model file {file} cannot be loaded: {error}") from error


def _check_agreement(model: ModelOnDisk, session: onnxruntime.InferenceSession) -> None:
    description = model.description
    missing = {node.name for node in session.get_inputs()} - {tensor.name for tensor in description.inputs}
    if missing:
        raise ConfigurationError(f"{model.file}: inputs: the graph's input {min(missing)!r} is not declared.")
    _check_section(model.file, "inputs", description.inputs, session.get_inputs())
    _check_section(model.file, "outputs", description.outputs, session.get_outputs())


def _check_section(file: Path, section: str, declared: Sequence[Tensor], nodes: Sequence[Any]) -> None:
    graph = {node.name: node for node in nodes}
    for tensor in declared:
        node = graph.get(tensor.name)
        if node is None:
            raise ConfigurationError(f"{file}: {section}: the graph has {', '.join(graph)}, but no {tensor.name!r}.")
        if DATATYPES.get(node.type) != tensor.datatype or not _shapes_agree(tensor.shape, node.shape):
            raise ConfigurationError(
                f"{file}: {section}: {tensor.name!r} is declared {tensor.datatype} {list(tensor.shape)}, "
                f"but the graph has {DATATYPES.get(node.type, node.type)} {node.shape}."
            )


def _shapes_agree(declared: Sequence[int], graph: Sequence[int | str | None]) -> bool:
    # A size that the graph leaves open (None or a symbol) may be declared more narrowly.
    if len(declared) != len(graph):
        return False
    return all(not isinstance(size, int) or size == want for want, size in zip(declared, graph, strict=True))


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
