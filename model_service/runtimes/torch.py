"""Runs a PyTorch model on the CPU: `<version>/model.pt2` (torch.export) or `<version>/model.pt` (TorchScript).

A model takes its inputs in the order of model.toml, which must list inputs and outputs: PyTorch does not keep their
names. A pt2 archive may hold pickles beside its weights; they are read with PyTorch's restricted unpickler unless
`allow_pickle = true`. OMP_NUM_THREADS, 1 under supervisord, bounds the threads.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import structlog

from inference_core.errors import ConfigurationError
from inference_core.tensors import Array, Arrays
from model_service.description import Parameter, Tensor
from model_service.optional import imported
from model_service.repository import ModelOnDisk
from model_service.runtime import Runtime

LIBRARY = "torch"
EXPORTED, SCRIPTED = "model.pt2", "model.pt"
ARCHIVES = (EXPORTED, SCRIPTED)
ONLY_WEIGHTS = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
"""torch.export.load asks for full pickle in some places; this variable of torch.load overrules it."""

LOADING = threading.Lock()
log = structlog.get_logger()


class TorchRuntime:
    """A module without gradients. PyTorch's own thread pool makes it wait for other threads."""

    only_computes = False
    inputs: tuple[Tensor, ...] = ()
    outputs: tuple[Tensor, ...] = ()

    def __init__(self, torch: Any, module: Any, model: ModelOnDisk) -> None:
        self._torch = torch
        self._module = module
        self._inputs = [tensor.name for tensor in model.description.inputs]
        self._outputs = [tensor.name for tensor in model.description.outputs]

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`."""
        with self._torch.inference_mode():
            answer = self._module(*[self._torch.from_numpy(_writable(inputs[name])) for name in self._inputs])
        named = answer if isinstance(answer, dict) else dict(zip(self._outputs, _listed(answer), strict=True))
        return {name: named[name].numpy() for name in self._outputs}

    def close(self) -> None:
        """As `Runtime.close`."""
        del self._module


def load(model: ModelOnDisk, parameters: Mapping[str, Parameter]) -> Runtime:
    """Load the module; takes no parameters. Raises ConfigurationError with the file and the reason."""
    if parameters:
        raise ConfigurationError(f"{model.file}: parameters.{min(parameters)}: this runtime takes none.")
    _check_signature(model)
    torch = imported(LIBRARY, model)
    file = next((model.folder / name for name in (EXPORTED, SCRIPTED) if (model.folder / name).is_file()), None)
    if file is None:
        raise ConfigurationError(f"Model file {model.folder / EXPORTED} is missing; write it with torch.export.save.")
    allow_pickle = model.description.allow_pickle and file.name == EXPORTED
    if allow_pickle:
        log.warning("pickle allowed", file=str(file), meaning="code in this archive would run in this worker")
    try:
        with _restricted(not allow_pickle):
            module = torch.export.load(file).module() if file.name == EXPORTED else torch.jit.load(file).eval()
    except Exception as error:
        raise ConfigurationError(f"Model file {file} cannot be loaded: {type(error).__name__}: {error}") from error
    return TorchRuntime(torch, module, model)


def _check_signature(model: ModelOnDisk) -> None:
    for section, tensors in (("inputs", model.description.inputs), ("outputs", model.description.outputs)):
        if not tensors:
            raise ConfigurationError(f"{model.file}: {section}: PyTorch models keep no names, so list them here.")
        if any(tensor.datatype == "BYTES" for tensor in tensors):
            raise ConfigurationError(f"{model.file}: {section}: PyTorch has no datatype for BYTES.")


@contextmanager
def _restricted(only_weights: bool) -> Iterator[None]:  # noqa: FBT001  # the one thing that it is about
    with LOADING, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, which its users know
        if only_weights:
            os.environ[ONLY_WEIGHTS] = "1"
        try:
            yield
        finally:
            os.environ.pop(ONLY_WEIGHTS, None)


def _writable(array: Array) -> Array:
    return array if array.flags.writeable else np.array(array)


def _listed(answer: Any) -> Sequence[Any]:
    return answer if isinstance(answer, tuple | list) else (answer,)
