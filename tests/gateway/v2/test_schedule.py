"""The extension schedule_policy sets a call's class and deadline."""

from __future__ import annotations

import pytest

from gateway.call import Call
from gateway.v2.schedule import scheduled
from inference_core.deadline import Deadline
from inference_core.errors import DeadlineExceeded, InvalidInput, Unavailable
from otel.requests import RequestTrace

LATE = DeadlineExceeded("Late.")


def call(seconds: float = 5.0) -> Call:
    """Return a call with so much time."""
    return Call(Deadline.after(seconds), "id", RequestTrace("0" * 32, "0" * 16, "", "", ""))


@pytest.mark.parametrize(("priority", "background"), [(0, False), (1, False), (2, True), (2**64 - 1, True)])
def test_only_low_priorities_give_way(priority: int, background: bool) -> None:  # noqa: FBT001  # a parameter
    """0 is the default and 1 the highest."""
    found = call()
    with scheduled({"priority": priority}, found):
        assert found.background is background


def test_a_timeout_lowers_the_deadline_and_never_raises_it() -> None:
    """Microseconds; 0 means none."""
    for microseconds, expected in ((1_000_000, 1.0), (0, 5.0), (60_000_000, 5.0)):
        found = call()
        with scheduled({"timeout": microseconds}, found):
            assert found.deadline.remaining() == pytest.approx(expected, abs=0.1)


def test_who_missed_its_own_timeout_is_told_so() -> None:
    """Missing the parameter is "unavailable", as Triton has it; missing the gateway's deadline stays what it is."""
    with pytest.raises(Unavailable, match="1000 µs"), scheduled({"timeout": 1000}, call()):
        raise LATE
    with pytest.raises(DeadlineExceeded), scheduled({"timeout": 60_000_000}, call()):
        raise LATE


@pytest.mark.parametrize("value", [-1, 1.5, True, "1", 2**64])
@pytest.mark.parametrize("name", ["priority", "timeout"])
def test_other_values_are_refused(name: str, value: object) -> None:
    """Each is a whole number that is not negative."""
    with pytest.raises(InvalidInput, match=name), scheduled({name: value}, call()):  # type: ignore[dict-item]  # wrong
        pass
