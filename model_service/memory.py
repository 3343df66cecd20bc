"""What the interpreter and the allocator do with memory, so that serving is not interrupted and unloading frees."""

from __future__ import annotations

import ctypes
import gc

from model_service.inline import COLLECTIONS

GC_THRESHOLDS = (10_000, 20, 50)


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
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return  # not glibc
    trim(0)
