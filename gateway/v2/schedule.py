"""The extension schedule_policy: how urgent a request is and how long it may take.

Source: Triton's extension schedule_policy: `priority` 0 is the default and 1 the highest, `timeout` is in microseconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.call import Call
from gateway.timeouts import SHORTEST_SECONDS
from gateway.v2.asked import Given
from inference_core.deadline import Deadline
from inference_core.errors import DeadlineExceeded, InvalidInput, Unavailable

PRIORITY, TIMEOUT = "priority", "timeout"
HIGHEST = 1
MOST = 2**64
MICROSECONDS = 1_000_000


@contextmanager
def scheduled(parameters: Given, call: Call) -> Iterator[None]:
    """Set a call's class and deadline as its parameters say, while it runs.

    Raises InvalidInput for a parameter that cannot be, and Unavailable where `timeout` ended the request: Triton calls
    that unavailable, too.
    """
    if PRIORITY not in parameters and TIMEOUT not in parameters:
        yield
        return
    call.background = call.background or _number(parameters, PRIORITY) > HIGHEST
    microseconds = _number(parameters, TIMEOUT)
    own = Deadline.after(max(SHORTEST_SECONDS, microseconds / MICROSECONDS)) if microseconds else call.deadline
    is_shorter = own.at < call.deadline.at
    call.deadline = own if is_shorter else call.deadline
    try:
        yield
    except DeadlineExceeded as error:
        if not is_shorter:
            raise
        raise Unavailable(f"The request took longer than its {TIMEOUT}, {microseconds} µs.") from error


def _number(parameters: Given, name: str) -> int:
    value = parameters.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST:
        raise InvalidInput(f"Parameter {name} is a whole number that is not negative.")
    return value
