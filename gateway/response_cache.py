"""Answers of one model that are given again for the very same inputs; off unless its traffic rule has a `cache`.

Only for models whose answer depends on nothing but their inputs. A key is the version that was asked for and all of the
inputs: names, types, shapes and every byte, which are compared, not only their hash. Each model has a cache of its own.
It is emptied whenever any worker says something new of the model: another version, a reload, a restart.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import numpy as np

from gateway.routing import Cache
from inference_core.deadline import now
from inference_core.inference import Inference
from inference_core.stacking import bytes_of
from inference_core.tensors import Arrays, to_raw

ENTRY_BYTES = 1024
"""Taken for an entry beside its arrays: a little more than Python needs for one."""

Key = tuple[str, tuple[tuple[str, str, tuple[int, ...], bytes], ...]]


class Kept(msgspec.Struct, frozen=True):
    """An answer, until when it may be given, and its size."""

    inference: Inference
    until: float
    size: int


def key_of(version: str, inputs: Arrays) -> Key:
    """Return what must be equal for an answer to be given again; equality compares every byte of the inputs."""
    parts = [(name, array.dtype.str, array.shape, to_raw(array)) for name, array in sorted(inputs.items())]
    return version, tuple(parts)


class ResponseCache:
    """One model's answers, those that were used last, within the limits of its rule."""

    def __init__(self, limits: Cache) -> None:
        self._limits = limits
        self._kept: OrderedDict[Key, Kept] = OrderedDict()
        self.bytes = 0
        self.epoch = 0

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Inference | None:
        """Return the answer to a key, None where there is none or it is too old. Its arrays cannot be written to."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.until <= now():
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept.inference

    def put(self, key: Key, inference: Inference, epoch: int) -> None:
        """Keep an answer that was asked for in that epoch; one that is as large as the whole cache is not kept."""
        if epoch != self.epoch:
            return
        size = ENTRY_BYTES + sum([len(part[3]) for part in key[1]]) + bytes_of(inference.outputs)
        if size > self._limits.max_bytes:
            return
        self._drop(key)
        answer = Inference(inference.model, inference.version, _own(inference.outputs))
        self._kept[key] = Kept(answer, now() + self._limits.seconds, size)
        self.bytes += size
        while self.bytes > self._limits.max_bytes:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Forget everything, and what is being computed now."""
        self.epoch += 1
        self._kept.clear()
        self.bytes = 0

    def _drop(self, key: Key) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self.bytes -= kept.size


def _own(outputs: Arrays) -> Arrays:
    # An answer's arrays are views of its whole batch, which would stay in memory with them.
    copies = {name: np.array(array) for name, array in outputs.items()}
    for copy in copies.values():
        copy.setflags(write=False)
    return copies
