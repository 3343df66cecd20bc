"""Memory that was freed and that the C library keeps for later."""

from __future__ import annotations

import ctypes


def give_back() -> None:
    """Hand freed memory back to the system, with glibc (malloc_trim(3)); elsewhere do nothing.

    It takes a millisecond for every ten megabytes that are given back.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError):
        return  # not glibc
    trim(0)
