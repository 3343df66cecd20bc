"""How long a client is willing to wait, and how important its request is."""

from __future__ import annotations

import math
import re
from functools import lru_cache

from inference_core.deadline import Deadline
from inference_core.errors import InvalidInput

PLAIN = re.compile(r"[0-9A-Za-z.+-]{1,64}")
"""What float() takes beyond this is for Python sources: underscores, spaces, digits of other scripts."""

TIMEOUT = "X-Request-Timeout"
PRIORITY = "X-Priority"
PRIORITIES = {"": False, "interactive": False, "batch": True}
SHORTEST_SECONDS = 0.001
REMEMBERED = 128
"""How many values of the header are remembered: clients repeat themselves."""


def deadline_of(text: str | None, longest_seconds: float) -> Deadline:
    """Return the deadline of a request that arrives now; as `patience`."""
    return Deadline.after(patience(text, longest_seconds))


def patience(text: str | None, longest_seconds: float) -> float:
    """Return how many seconds a request may take: the setting, or what X-Request-Timeout (seconds) lowers it to.

    Raises InvalidInput for a value that is not a positive number.
    """
    if text is None:
        return longest_seconds
    seconds = _seconds(text)
    if not seconds > 0:
        raise InvalidInput(f"{TIMEOUT} is a positive number of seconds, such as 0.5.")
    return max(SHORTEST_SECONDS, min(seconds, longest_seconds))


@lru_cache(maxsize=REMEMBERED)
def _seconds(text: str) -> float:
    try:
        return float(text) if PLAIN.fullmatch(text) else math.nan
    except ValueError:
        return math.nan


def is_background(text: str | None) -> bool:
    """Tell whether X-Priority asks for the class that gives way; raises InvalidInput for an unknown class."""
    if text is None:
        return False
    found = PRIORITIES.get(text.strip(" \t").lower())
    if found is None:
        raise InvalidInput(f"{PRIORITY} is interactive (the default) or batch.")
    return found
