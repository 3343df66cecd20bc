"""Tries a version in a process of its own first, for a runtime whose library can die of a damaged file.

XGBoost 3.2 ends its process with SIGSEGV for about every eighth file in which one bit is flipped, when it loads it or
when it computes. Whoever serves beside it must not end with it.
"""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from inference_core.errors import ConfigurationError
from inference_core.tensors import DTYPES, Array
from model_service.description import Tensor, read
from model_service.repository import DESCRIPTION, ModelOnDisk

LONGEST_SECONDS = 60.0
ROWS = 512
END_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


def rehearse(model: ModelOnDisk, runtime: str) -> None:
    """Raise ConfigurationError where loading a version with that runtime module, or computing, ends its process.

    What is wrong otherwise is told where it is loaded in earnest. Takes as long as the library's import, and more.
    """
    command = [*END_WITH_US, sys.executable, "-m", __name__, str(model.folder), runtime]
    try:
        done = subprocess.run(  # noqa: S603  # our own arguments
            command, check=False, timeout=LONGEST_SECONDS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(f"{model.folder} was not loaded by a first try within {LONGEST_SECONDS} s.") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise ConfigurationError(f"{model.folder} ended the process that tried it first ({name}): it is damaged.")


def main() -> None:
    """Load the version in the folder given first with the runtime module given second, and compute some rows."""
    folder, load = Path(sys.argv[1]), importlib.import_module(sys.argv[2]).load
    description = read(folder.parent / DESCRIPTION)
    with suppress(Exception):
        runtime = load(ModelOnDisk(folder.parent.name, folder.name, folder, description), description.parameters)
        runtime.predict({tensor.name: _rows(tensor) for tensor in runtime.inputs})


def _rows(tensor: Tensor) -> Array:
    # Of many sizes and signs, so that they take many ways through a tree.
    chance = np.random.default_rng(0)
    shape = (ROWS, *(max(size, 1) for size in tensor.shape[1:]))
    return (chance.normal(size=shape) * 10 ** chance.uniform(-3, 3, shape)).astype(DTYPES[tensor.datatype])


if __name__ == "__main__":
    main()
