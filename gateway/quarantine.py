"""Inputs that killed the workers which ran them, refused for a while by their fingerprint."""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from pathlib import Path
from typing import TypeVar

from inference_core.deadline import now
from inference_core.death_note import read
from inference_core.errors import WorkerKiller
from inference_core.tensors import Arrays, to_raw

MOST = 4096
FORGIVEN_NOTES = 2
DIGEST_BYTES = 16
T = TypeVar("T")
KILLED = "This input ended the workers that ran it, so it is not tried for now; `make status` says how they ended."


def fingerprint_of(model: str, inputs: Arrays, version: str = "") -> bytes:
    """Return the BLAKE2b digest of a model's name, its version where one was asked for, and inputs.

    Of inputs count names, dtypes, shapes and values.
    """
    digest = hashlib.blake2b(f"{model}\0\0{version}".encode(), digest_size=DIGEST_BYTES)
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
        self._vouched: OrderedDict[bytes, tuple[float, int]] = OrderedDict()
        self._forgiven: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, model: str, inputs: Arrays, version: str = "") -> None:
        """Refuse these inputs from now on."""
        self._add(fingerprint_of(model, inputs, version), self._seconds)

    def learn(self, death_note: Path) -> str:
        """Refuse the input that a dead worker had noted before it ran it alone; return its fingerprint, "" for none.

        It counts from when the note was written, for a note stays as long as its slot is empty.
        """
        text, written_at = read(death_note)
        remaining = self._seconds - (time.time() - written_at)
        try:
            fingerprint = bytes.fromhex(text)
        except ValueError:
            return ""
        if len(fingerprint) != DIGEST_BYTES or remaining <= 0 or self._forgives(fingerprint, written_at):
            return ""
        self._add(fingerprint, remaining)
        return text

    def vouch(self, fingerprint: bytes) -> None:
        """Note that an input was answered of which workers had died: its next FORGIVEN_NOTES do not convict it.

        Somebody may kill workers from outside while a popular input runs alone there; three in a row are no chance.
        """
        _keep(self._vouched, fingerprint, (now() + self._seconds, FORGIVEN_NOTES))

    def _forgives(self, fingerprint: bytes, written_at: float) -> bool:
        if self._forgiven.get(fingerprint) == written_at:
            return True  # the same note, read again
        until, chances = self._vouched.pop(fingerprint, (0.0, 0))
        if until <= now():
            return False
        if chances > 1:
            _keep(self._vouched, fingerprint, (until, chances - 1))
        _keep(self._forgiven, fingerprint, written_at)
        return True

    def _add(self, fingerprint: bytes, seconds: float) -> None:
        _keep(self._until, fingerprint, max(now() + seconds, self._until.get(fingerprint, 0.0)))

    def check(self, model: str, inputs: Arrays, version: str = "") -> None:
        """Raise WorkerKiller for inputs that are refused; costs nothing while there are none."""
        if not self._until:
            return
        time_now = now()
        while self._until and next(iter(self._until.values())) <= time_now:
            self._until.popitem(last=False)
        if self._until and self._until.get(fingerprint_of(model, inputs, version), 0.0) > time_now:
            raise WorkerKiller(KILLED)


def _keep(memory: OrderedDict[bytes, T], fingerprint: bytes, value: T) -> None:
    memory[fingerprint] = value
    memory.move_to_end(fingerprint)
    if len(memory) > MOST:
        memory.popitem(last=False)
