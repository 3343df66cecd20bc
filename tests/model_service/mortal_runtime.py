"""A runtime that does what its version's file says: ends its process, hangs, raises or computes."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Mapping

from inference_core.tensors import Arrays
from model_service.description import Parameter, Tensor
from model_service.repository import ModelOnDisk


def _die() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _raise() -> None:
    raise ValueError("broken")


DEEDS: Mapping[str, Callable[[], object]] = {"die": _die, "raise": _raise, "hang": threading.Event().wait}


class MortalRuntime:
    """Computes nothing, or ends its process."""

    only_computes = False
    inputs = (Tensor("features", "FP32", (-1, 3)), Tensor("more", "INT32", (-1, -1)))
    outputs: tuple[Tensor, ...] = ()

    def __init__(self, deed: str) -> None:
        self._deed = deed

    def predict(self, inputs: Arrays) -> Arrays:
        """As `Runtime.predict`."""
        assert {name: array.shape for name, array in inputs.items()} == {"features": (512, 3), "more": (512, 1)}
        DEEDS.get(self._deed, dict)()
        return {}

    def close(self) -> None:
        """As `Runtime.close`."""


def load(model: ModelOnDisk, parameters: Mapping[str, Parameter]) -> MortalRuntime:
    """As `Load`."""
    when, deed = (model.folder / "deed").read_text().split()
    if when == "load":
        DEEDS.get(deed, dict)()
    return MortalRuntime(deed)
