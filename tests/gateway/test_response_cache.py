"""Kept answers: the very same inputs, within bounds, and never somebody else's."""

from __future__ import annotations

import numpy as np
import pytest

from gateway import response_cache
from gateway.response_cache import ENTRY_BYTES, ResponseCache, key_of
from gateway.routing import Cache
from inference_core.inference import Inference
from inference_core.tensors import Arrays
from tests.gateway.hop import rows
from tests.gateway.test_quarantine import texts

ROW = rows(1)["features"]
DIFFERENT: list[tuple[str, Arrays]] = [
    ("", rows(1)),
    ("1", rows(1)),
    ("", rows(2)),
    ("", rows(1, 1)),
    ("", {"features": ROW.astype("<f8")}),
    ("", {"features": ROW.view("<i4")}),
    ("", {"features": ROW.reshape(2, 1)}),
    ("", {"other": ROW}),
    ("", {**rows(1), "more": ROW}),
    ("", {"features": -0.0 * ROW}),
    ("", {"features": 0.0 * ROW}),
    ("", texts(b"ab", b"c")),
    ("", texts(b"a", b"bc")),
    ("", texts(b"abc")),
]


def inference(value: float = 1.0, count: int = 1) -> Inference:
    """Return an answer."""
    return Inference("m", "1", {"class_id": np.full(count, value, "<f4")})


def test_a_key_tells_everything_apart() -> None:
    """Version, names, types, shapes and every byte count, and the order of inputs does not."""
    assert len({key_of(version, inputs) for version, inputs in DIFFERENT}) == len(DIFFERENT)
    assert key_of("", {"x": ROW, "y": 2 * ROW}) == key_of("", {"y": 2 * ROW, "x": ROW})


def test_equal_hashes_are_not_enough() -> None:
    """A key whose hash is another's is found by nobody but its own inputs: dict compares the bytes themselves."""
    cache = ResponseCache(Cache())
    key = key_of("", rows(1))

    class Impostor(tuple[object, ...]):
        __slots__ = ()

        def __hash__(self) -> int:
            return hash(key)

    cache.put(key, inference(), 0)
    assert cache.get(key) is not None
    assert cache.get(Impostor(key_of("", rows(2)))) is None  # type: ignore[arg-type]  # as above


def test_an_answer_is_kept_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `seconds` it is computed again, and its memory is free."""
    clock = [100.0]
    monkeypatch.setattr(response_cache, "now", lambda: clock[0])
    cache, key = ResponseCache(Cache(seconds=10)), key_of("", rows(1))
    cache.put(key, inference(), 0)
    clock[0] = 109.9
    assert cache.get(key) is not None
    clock[0] = 110.0
    assert cache.get(key) is None
    assert (len(cache), cache.bytes) == (0, 0)


def test_the_least_recently_used_leaves_first() -> None:
    """The bound in bytes holds at all times, whatever is put, and what was asked for last stays."""
    cache = ResponseCache(Cache(max_bytes=4 * (ENTRY_BYTES + 100)))
    keys = [key_of("", rows(value)) for value in range(10)]
    for key in keys:
        cache.put(key, inference(), 0)
        cache.get(keys[0])
        assert cache.bytes <= 4 * (ENTRY_BYTES + 100)
    assert [key in cache._kept for key in keys] == [True, *[False] * 6, *[True] * 3]


def test_what_is_larger_than_all_is_not_kept() -> None:
    """An answer that would push everything out is not worth it."""
    cache = ResponseCache(Cache(max_bytes=2048))
    cache.put(key_of("", rows(1)), inference(), 0)
    cache.put(key_of("", rows(2)), inference(count=10_000), 0)
    assert len(cache) == 1


def test_a_second_put_counts_once() -> None:
    """Two requests at once that both missed leave one answer."""
    cache, key = ResponseCache(Cache()), key_of("", rows(1))
    cache.put(key, inference(1), 0)
    size = cache.bytes
    cache.put(key, inference(2), 0)
    assert (len(cache), cache.bytes) == (1, size)


def test_what_is_cleared_stays_away() -> None:
    """An answer that was asked for before the clearing is not kept after it: it may be the old version's."""
    cache, key = ResponseCache(Cache()), key_of("", rows(1))
    epoch = cache.epoch
    cache.clear()
    cache.put(key, inference(), epoch)
    assert (len(cache), cache.bytes) == (0, 0)
    cache.put(key, inference(), cache.epoch)
    assert len(cache) == 1


def test_a_kept_answer_is_its_own() -> None:
    """It holds no batch's memory, and nobody can write to it."""
    cache, key = ResponseCache(Cache()), key_of("", rows(1))
    batch = np.arange(1000, dtype="<f4")
    cache.put(key, Inference("m", "1", {"class_id": batch[3:4]}), 0)
    kept = cache.get(key)
    assert kept is not None
    array = kept.outputs["class_id"]
    assert array.base is None
    batch[3] = 99
    assert array.tolist() == [3]
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1
