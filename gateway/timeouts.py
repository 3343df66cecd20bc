"""How long a client is willing to wait."""

from __future__ import annotations

import math

from falcon.asgi import Request

from inference_core.deadline import Deadline
from inference_core.errors import InvalidInput

TIMEOUT = "X-Request-Timeout"
SHORTEST_SECONDS = 0.001


def deadline_of(request: Request, longest_seconds: float) -> Deadline:
    """Return the request's deadline: the setting, or what X-Request-Timeout (seconds) lowers it to.

    Raises InvalidInput for a value that is not a positive number.
    """
    text = request.get_header(TIMEOUT)
    if text is None:
        return Deadline.after(longest_seconds)
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds > 0:
        raise InvalidInput(f"{TIMEOUT} is a positive number of seconds, such as 0.5.")
    return Deadline.after(max(SHORTEST_SECONDS, min(seconds, longest_seconds)))
