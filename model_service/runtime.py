"""What the engine asks of a loaded model, whatever library runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from inference_core.tensors import Arrays
from model_service.description import Parameter, Tensor
from model_service.repository import ModelOnDisk


class Runtime(Protocol):
    """One loaded model version.

    BYTES tensors are object arrays of `bytes`; the first dimension of every array counts rows. `only_computes` says
    that `predict` uses the processor and its own thread alone: it waits for no file, network, lock or other thread.
    `inputs` and `outputs` are what the model itself says of its signature, and empty where it says nothing.
    """

    only_computes: bool
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    def predict(self, inputs: Arrays) -> Arrays:
        """Return the outputs for a batch of rows, as many rows as came in, in arrays that are not written to later.

        The rows may come from several calls; where this raises for them, each call's rows are given again alone.
        Called from the model's compute threads, from several at once where it has several instances, or from the
        event loop. Raises InvalidInput for rows that can never succeed; anything else that escapes is the model's
        failure.
        """

    def close(self) -> None:
        """Free what the model holds; called once, after the last `predict` returned."""


def is_row_by_row(runtime: Runtime) -> bool:
    """Tell whether a runtime computes one row after the other, so that sharing batches would only make calls wait.

    It says so with an attribute `row_by_row`, which may be left out.
    """
    return bool(getattr(runtime, "row_by_row", False))


Load = Callable[[ModelOnDisk, Mapping[str, Parameter]], Runtime]
"""How a runtime loads a version with the parameters of model.toml; raises ConfigurationError with file and reason.

Its module may have ARCHIVES, names of zip files that it unpacks: those are measured before. One whose library can die
of a damaged file has CAN_DIE = True: a version without SHA256SUMS is then tried in a process of its own first.
"""
