"""Inputs that killed workers are known by their fingerprint, for a while, and never too many of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from gateway import quarantine
from gateway.quarantine import DIGEST_BYTES, MOST, Quarantine, fingerprint_of
from inference_core import death_note
from inference_core.errors import WorkerKiller
from inference_core.tensors import Arrays
from tests.gateway.hop import rows
from tests.processes import ended_pid


def texts(*values: bytes) -> Arrays:
    """Return an input of texts."""
    array = np.empty(len(values), object)
    array[:] = values
    return {"prompt": array}


DIFFERENT: list[tuple[str, Arrays]] = [
    ("a", rows(1)),
    ("b", rows(1)),
    ("a", rows(2)),
    ("a", rows(1, 1)),
    ("a", {"features": rows(1)["features"].astype("<f8")}),
    ("a", {"features": rows(1)["features"].reshape(2, 1)}),
    ("a", {"other": rows(1)["features"]}),
    ("a", {**rows(1), "more": rows(1)["features"]}),
    ("a", texts(b"ab", b"c")),
    ("a", texts(b"a", b"bc")),
    ("a", texts(b"abc")),
]


def test_a_fingerprint_tells_everything_apart() -> None:
    """Model, names, types, shapes and values all count."""
    assert len({fingerprint_of(model, inputs) for model, inputs in DIFFERENT}) == len(DIFFERENT)


def test_a_fingerprint_tells_versions_apart() -> None:
    """What one version dies of another one may compute; no version is no prefix of a model's name."""
    versions = [fingerprint_of("a", rows(1), version) for version in ("", "1", "2")]
    assert len({*versions, fingerprint_of("a1", rows(1))}) == 4


def test_a_fingerprint_is_the_same_for_the_same_input() -> None:
    """Neither the order of inputs nor the memory layout of a view counts."""
    one, two = rows(1)["features"], rows(2)["features"]
    view = np.concatenate([two, one])[1:]
    assert fingerprint_of("a", {"x": one, "y": two}) == fingerprint_of("a", {"y": two, "x": view})


def test_a_remembered_input_is_refused_and_others_are_not() -> None:
    """Only that input of that model."""
    kept = Quarantine(60)
    kept.check("a", rows(1))
    kept.add("a", rows(1))
    with pytest.raises(WorkerKiller):
        kept.check("a", rows(1))
    kept.check("b", rows(1))
    kept.check("a", rows(2))
    kept.check("a", rows(1), "1")


def test_it_forgets_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each input is refused for its own time, counted from the last death."""
    clock = [100.0]
    monkeypatch.setattr(quarantine, "now", lambda: clock[0])
    kept = Quarantine(10)
    kept.add("a", rows(1))
    clock[0] = 105
    kept.add("a", rows(2))
    kept.add("a", rows(1))
    clock[0] = 114
    assert len(kept) == 2
    for value in (1, 2):
        with pytest.raises(WorkerKiller):
            kept.check("a", rows(value))
    clock[0] = 115
    for value in (1, 2):
        kept.check("a", rows(value))
    assert len(kept) == 0


def test_it_keeps_only_so_many() -> None:
    """Beyond MOST the oldest is forgotten, and one that comes again costs no other its place."""
    kept = Quarantine(60)
    for value in range(MOST + 1):
        kept.add("a", rows(value))
    kept.add("a", rows(MOST))
    assert len(kept) == MOST
    kept.check("a", rows(0))
    for value in (1, MOST):
        with pytest.raises(WorkerKiller):
            kept.check("a", rows(value))


def test_a_death_note_is_believed(tmp_path: Path) -> None:
    """A worker's note names the input it died of."""
    kept, note = Quarantine(60), tmp_path / "0.alone"
    text = fingerprint_of("a", rows(1)).hex()
    death_note.write(note, text, ended_pid())
    assert kept.learn(note) == text
    with pytest.raises(WorkerKiller):
        kept.check("a", rows(1))


@pytest.mark.parametrize("content", ["", "x", "00", "zz" * DIGEST_BYTES, "0" * (2 * DIGEST_BYTES + 2), "0" * 100_000])
def test_other_notes_are_not(tmp_path: Path, content: str) -> None:
    """What is no fingerprint is no note, and neither is a missing file."""
    kept, note = Quarantine(60), tmp_path / "0.alone"
    assert kept.learn(note) == ""
    death_note.write(note, content, ended_pid())
    assert kept.learn(note) == ""
    assert len(kept) == 0


def test_an_old_note_is_no_news(tmp_path: Path) -> None:
    """A note counts from when it was written, however often it is read: the refusal ends although the file stays."""
    kept, note = Quarantine(60), tmp_path / "0.alone"
    death_note.write(note, fingerprint_of("a", rows(1)).hex(), ended_pid())
    os.utime(note, (time.time() - 61, time.time() - 61))
    assert kept.learn(note) == ""
    kept.check("a", rows(1))


def test_who_was_answered_before_is_convicted_by_the_third_note(tmp_path: Path) -> None:
    """Workers that are killed from outside while a popular input runs alone there do not make that a killer."""
    kept, note = Quarantine(60), tmp_path / "0.alone"
    fingerprint = fingerprint_of("a", rows(1))
    kept.vouch(fingerprint)
    began = int(time.time())
    for written_at, expected in ((-3, ""), (-3, ""), (-2, ""), (-1, fingerprint.hex())):
        death_note.write(note, fingerprint.hex(), ended_pid())
        os.utime(note, (began + written_at, began + written_at))
        assert kept.learn(note) == expected
    with pytest.raises(WorkerKiller):
        kept.check("a", rows(1))
