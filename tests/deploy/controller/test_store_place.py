"""When the trace store may be started again: not in another's place."""

from __future__ import annotations

import socket

import pytest
from supervisor.states import ProcessStates

from deploy.controller.rpc import Process
from deploy.controller.store_place import StorePlace
from deploy.trial import free_ports

STORE = Process("tracestore", "tracestore", ProcessStates.FATAL, 0)


def jaeger(state: int) -> Process:
    """Return Jaeger in a state."""
    return Process("jaeger", "jaeger", state, 0)


def test_a_port_that_something_has_is_left_to_it() -> None:
    """While another listens there is no place, afterwards there is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = StorePlace(taken.getsockname()[1])
        assert not place.is_free([STORE])
    assert place.is_free([STORE])


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ProcessStates.RUNNING, False),
        (ProcessStates.STARTING, False),
        (ProcessStates.BACKOFF, False),
        (ProcessStates.EXITED, False),
        (ProcessStates.STOPPED, True),
        (ProcessStates.FATAL, True),
    ],
)
def test_jaeger_keeps_its_place_in_a_restart(state: int, expected: bool) -> None:  # noqa: FBT001  # parametrized
    """Who started Jaeger wants Jaeger, also in the moment in which it does not listen."""
    (port,) = free_ports(1)
    assert StorePlace(port).is_free([STORE, jaeger(state)]) is expected
