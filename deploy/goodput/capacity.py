"""Finds the highest load that a system bears."""

from __future__ import annotations

from collections.abc import Callable

FIRST_RATE, GROWTH, REFINEMENTS = 50.0, 1.5, 4
HIGHEST_RATE, LOWEST_RATE = 8000.0, 1.0


def capacity(bears: Callable[[float], bool]) -> float:
    """Return the highest rate that is borne, in requests per second: by steps up, then by halving the last one.

    Returns 0 where not even one request per second is borne.
    """
    low, high = _bracket(bears)
    for _ in range(REFINEMENTS if low else 0):
        middle = (low + high) / 2
        if bears(middle):
            low = middle
        else:
            high = middle
    return low


def _bracket(bears: Callable[[float], bool]) -> tuple[float, float]:
    low, rate = 0.0, FIRST_RATE
    while rate >= LOWEST_RATE and not bears(rate):
        rate /= 2
    if rate < LOWEST_RATE:
        return 0.0, rate
    while rate <= HIGHEST_RATE:
        low, rate = rate, rate * GROWTH
        if not bears(rate):
            break
    return low, rate
