"""Inputs that killed the workers which ran them, refused for a while by their fingerprint."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

from inference_core.deadline import now
from inference_core.errors import WorkerKiller
from inference_core.tensors import Arrays, to_raw

MOST = 4096
DIGEST_BYTES = 16
KILLED = "This input ended the workers that ran it, so it is not tried again for now; look at the model's log."


def fingerprint_of(model: str, inputs: Arrays) -> bytes:
    """Return the BLAKE2b digest of a model's name and inputs: names, dtypes, shapes and values."""
    digest = hashlib.blake2b(model.encode(), digest_size=DIGEST_BYTES)
    for name in sorted(inputs):
        array = inputs[name]
        digest.update(f"\0{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(to_raw(array))
    return digest.digest()


class Quarantine:
    """Remembers up to MOST inputs for `seconds` each."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, model: str, inputs: Arrays) -> None:
        """Refuse these inputs from now on."""
        self._add(fingerprint_of(model, inputs))

    def learn(self, death_note: Path) -> str:
        """Refuse the input that a worker noted before it ran it alone and died; return its fingerprint, "" for none."""
        try:
            text = death_note.read_text(encoding="ascii")
            fingerprint = bytes.fromhex(text)
        except (OSError, ValueError):
            return ""
        if len(fingerprint) != DIGEST_BYTES:
            return ""
        self._add(fingerprint)
        return text

    def _add(self, fingerprint: bytes) -> None:
        self._until[fingerprint] = now() + self._seconds
        self._until.move_to_end(fingerprint)  # the order is that of expiry
        if len(self._until) > MOST:
            self._until.popitem(last=False)

    def check(self, model: str, inputs: Arrays) -> None:
        """Raise WorkerKiller for inputs that are refused; costs nothing while there are none."""
        while self._until and next(iter(self._until.values())) <= now():
            self._until.popitem(last=False)
        if self._until and fingerprint_of(model, inputs) in self._until:
            raise WorkerKiller(KILLED)
