"""What the engine asks of a loaded model, whatever library runs it."""

from __future__ import annotations

from typing import Protocol

from inference_core.tensors import Arrays


class Runtime(Protocol):
    """One loaded model version.

    BYTES tensors are object arrays of `bytes`; the first dimension of every array counts rows. `only_computes` says
    that `predict` uses the processor and its own thread alone: it waits for no file, network, lock or other thread.
    """

    only_computes: bool

    def predict(self, inputs: Arrays) -> Arrays:
        """Return the outputs for a batch of rows, as many rows as came in, in arrays that are not written to later.

        The rows may come from several calls; where this raises for them, each call's rows are given again alone.
        Called from the model's compute threads, from several at once where it has several instances, or from the
        event loop. Raises InvalidInput for rows that can never succeed; anything else that escapes is the model's
        failure.
        """

    def close(self) -> None:
        """Free what the model holds; called once, after the last `predict` returned."""
