"""Before a model serves: what its runtime and model.toml say of its signature is brought together, and samples are run.

A model that raises, or answers a sample with the wrong tensors or with numbers that are none, never gets a request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from inference_core.errors import ConfigurationError, InferenceHubError
from inference_core.tensors import DTYPES, Array, Arrays, datatype_of
from model_service.description import Description, Sample, Tensor
from model_service.runtime import Runtime
from model_service.signature import check_inputs, fits

TOLERANCE = 1e-3


def resolved(file: Path, description: Description, runtime: Runtime) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return a model's inputs and outputs: those of model.toml, or where it has none those that the runtime found.

    Raises ConfigurationError where neither says anything, and where they do not agree.
    """
    inputs = _section(file, "inputs", description.inputs, runtime.inputs)
    outputs = _section(file, "outputs", description.outputs, runtime.outputs)
    missing = {tensor.name for tensor in runtime.inputs} - {tensor.name for tensor in inputs}
    if missing:
        raise ConfigurationError(f"{file}: inputs: the model's input {min(missing)!r} is not declared.")
    return inputs, outputs


def warm_up(file: Path, description: Description, runtime: Runtime) -> None:
    """Run the samples of model.toml; raises ConfigurationError for the first one that is not answered as it must be."""
    for index, sample in enumerate(description.warmup):
        try:
            inputs = _inputs_of(sample, description.inputs)
            check_inputs("here", description.inputs, inputs)
            for _ in range(sample.repeat):
                outputs = runtime.predict(inputs)
            _check_outputs(description.outputs, outputs, len(next(iter(inputs.values()))))
            _check_expected(sample.outputs, outputs)
        except InferenceHubError as error:
            raise ConfigurationError(f"{file}: warmup[{index}]: {error.message}") from error
        except (Exception, SystemExit) as error:
            raise ConfigurationError(f"{file}: warmup[{index}]: {type(error).__name__}: {error}") from error


def _section(file: Path, section: str, declared: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if not declared and not found:
        raise ConfigurationError(f"{file}: {section}: this model does not say them itself, so list them here.")
    known = {tensor.name: tensor for tensor in found}
    for tensor in declared if found else ():
        own = known.get(tensor.name)
        if own is None:
            raise ConfigurationError(f"{file}: {section}: the model has {', '.join(known)}, but no {tensor.name!r}.")
        if own.datatype != tensor.datatype or not _agree(tensor.shape, own.shape):
            raise ConfigurationError(
                f"{file}: {section}: {tensor.name!r} is declared {tensor.datatype} {list(tensor.shape)}, "
                f"but the model has {own.datatype} {list(own.shape)}."
            )
    return declared or found


def _agree(declared: Sequence[int], own: Sequence[int]) -> bool:
    # A size that the model leaves open may be declared more narrowly.
    return len(declared) == len(own) and all(size in (-1, want) for want, size in zip(declared, own, strict=True))


def _inputs_of(sample: Sample, tensors: Sequence[Tensor]) -> Arrays:
    if sample.inputs:
        kinds = {tensor.name: DTYPES[tensor.datatype] for tensor in tensors}
        return {name: _array(values, kinds.get(name, np.dtype(np.float32))) for name, values in sample.inputs.items()}
    return {tensor.name: _zeros(tensor, sample.rows) for tensor in tensors}


def _array(values: Any, kind: np.dtype[Any]) -> Array:
    if kind.kind != "O":
        return np.array(values, kind)
    texts = np.array(values, object)
    encoded = np.empty(texts.shape, object)
    encoded.flat[:] = [str(text).encode() for text in texts.flat]
    return encoded


def _zeros(tensor: Tensor, rows: int) -> Array:
    shape = (rows, *(max(size, 1) for size in tensor.shape[1:]))
    if tensor.datatype == "BYTES":
        return np.full(shape, b"", object)
    return np.zeros(shape, DTYPES[tensor.datatype])


def _check_outputs(tensors: Sequence[Tensor], outputs: Arrays, rows: int) -> None:
    for tensor in tensors:
        array = outputs.get(tensor.name)
        if array is None:
            raise ConfigurationError(f"the output {tensor.name!r} is missing; there is {', '.join(outputs)}.")
        if datatype_of(array) != tensor.datatype or not fits(tensor.shape, array.shape) or len(array) != rows:
            raise ConfigurationError(
                f"the output {tensor.name!r} is {datatype_of(array)} {list(array.shape)} for {rows} rows, "
                f"but declared {tensor.datatype} {list(tensor.shape)}."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ConfigurationError(f"the output {tensor.name!r} has values that are no finite numbers.")


def _check_expected(expected: Mapping[str, Any], outputs: Arrays) -> None:
    for name, values in expected.items():
        array = outputs.get(name)
        if array is None:
            raise ConfigurationError(f"the output {name!r} is missing; there is {', '.join(outputs)}.")
        want = _array(values, array.dtype)
        is_number = array.dtype.kind == "f"
        near = want.shape == array.shape and (
            np.allclose(array, want, rtol=TOLERANCE, atol=TOLERANCE) if is_number else np.array_equal(array, want)
        )
        if not near:
            raise ConfigurationError(f"the output {name!r} is {array.tolist()!r:.200}, not {want.tolist()!r:.200}.")
