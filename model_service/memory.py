"""What the interpreter and the allocator do with memory, so that serving is not interrupted and unloading frees."""

from __future__ import annotations

import ctypes
import gc

from inference_core import heap
from model_service.inline import COLLECTIONS

GC_THRESHOLDS = (2_000, 20, 50)
"""High enough for the objects that a worker under load has at once; but grpc.aio leaves a cycle of seven for each call
of its own (probes, three a second), and until the first collection they take new memory."""

MEBIBYTE = 1024 * 1024
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Of mallopt(3)."""

ALLOCATION = ((M_MMAP_THRESHOLD, 4 * MEBIBYTE), (M_TRIM_THRESHOLD, 64 * MEBIBYTE), (M_ARENA_MAX, 4))


def separate() -> None:
    """Have large blocks, as weights are, mapped by themselves, so that freeing one gives its pages back."""
    # Left alone, glibc takes the first large block that is freed as a sign to keep such blocks for reuse, up to 32 MiB,
    # and each thread that loads a model for itself.
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return  # not glibc
    for option, value in ALLOCATION:
        mallopt(option, value)


def freeze() -> None:
    """Set what has been loaded aside from garbage collection, which afterwards is rare."""
    # What was loaded stays, and a call leaves no cycles behind: the defaults would look through new objects, then old
    # ones, many times a second for nothing.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    if COLLECTIONS not in gc.callbacks:
        gc.callbacks.append(COLLECTIONS)


def give_back() -> None:
    """Free what a closed model leaves behind, and hand it back to the system where the C library can."""
    # A model's module and its functions refer to each other, so only a collection finds them; one that was loaded at
    # the start lies among what was set aside.
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    heap.give_back()
