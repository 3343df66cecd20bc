"""The generator counts every request once, for what really happened to it."""

from __future__ import annotations

import asyncio
import socket

import numpy as np
import pytest

from deploy.load.generator import Generator
from deploy.load.plan import Kind, Plan, Stage
from deploy.load.records import Records
from tests.deploy.load.server import (
    Behaviour,
    answer,
    babble,
    break_off,
    hang_up,
    refuse,
    say_nothing,
    server,
)

STAGES = (Stage(rate=400, seconds=0.25),)
KINDS = (Kind("ask"),)


async def result_of(behaviour: Behaviour, **changes: object) -> tuple[Generator, Records]:
    """Run a short plan against a server that behaves like that."""
    async with server(behaviour) as port:
        limits = {"connections": 4, "most_connections": 64, "patience": 0.3, **changes}
        generator = Generator(Plan("127.0.0.1", port, KINDS, STAGES, arrivals="fixed", **limits))  # type: ignore[arg-type]  # a test's own changes
        await generator.open()
        return generator, await generator.run()


async def test_every_request_is_answered_and_counted_once() -> None:
    """A healthy server gets every request that was due, about when it was due."""
    _, records = await result_of(answer)
    assert records.statuses() == {"200": 100}
    assert records.expected.all()
    assert (records.attempts == 1).all()
    assert np.median(records.sent - records.due) < 0.02
    assert (records.ended >= records.sent).all()


@pytest.mark.parametrize(
    ("behaviour", "name"),
    [(refuse, "503"), (hang_up, "closed"), (break_off, "cut"), (babble, "garbled")],
)
async def test_a_failure_is_called_by_its_name(behaviour: Behaviour, name: str) -> None:
    """Statuses and broken transports are told apart, and none is repeated unasked."""
    _, records = await result_of(behaviour)
    assert records.statuses() == {name: 100}
    assert not records.expected.any()
    assert (records.attempts == 1).all()


async def test_a_request_without_a_free_connection_counts_as_failed() -> None:
    """When all connections are busy the rest waits, and is reported as never sent when patience ends."""
    generator, records = await result_of(say_nothing, most_connections=8)
    assert generator.most_connections == 8
    assert records.statuses().keys() == {"late", "unsent"}
    assert len(records) == 100
    assert np.isnan(records.sent[records.status == -5]).all()
    assert (records.latency >= 0.3).all()


async def test_waiting_counts_from_when_a_request_was_due() -> None:
    """A server that takes one request at a time makes the later ones slow, not fewer."""

    async def slowly(number: int, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.004)
        await answer(number, writer)

    _, records = await result_of(slowly, most_connections=1, connections=1, patience=5)
    assert records.statuses() == {"200": 100}
    assert records.latency[-1] > 0.1


async def test_a_refused_client_that_retries_is_one_request_with_several_attempts() -> None:
    """Retries leave at once, and the last answer counts."""

    async def at_first(number: int, writer: asyncio.StreamWriter) -> None:
        await (refuse if number < 50 else answer)(number, writer)

    _, records = await result_of(at_first, retries=50, connections=1, most_connections=1, patience=5)
    assert records.statuses() == {"200": 100}
    assert records.attempts.sum() == 150
    assert records.attempts.max() > 1


async def test_a_client_gives_up_after_its_retries() -> None:
    """With two retries a request is sent three times, and then counts as what came last."""
    _, records = await result_of(refuse, retries=2, patience=5)
    assert records.statuses() == {"503": 100}
    assert (records.attempts == 3).all()


async def test_answers_of_failures_are_kept_as_samples() -> None:
    """What a server said to a failure can be read afterwards."""
    generator, _ = await result_of(refuse)
    (sample,) = generator.samples.values()
    assert sample.endswith(b'{"error": "full"}')


async def test_a_stop_ends_what_is_to_come() -> None:
    """After `stop` nothing becomes due, and what was sent is answered."""
    async with server(answer) as port:
        generator = Generator(Plan("127.0.0.1", port, KINDS, (Stage(rate=50, seconds=1000),)))
        asyncio.get_running_loop().call_later(0.1, generator.stop)
        await generator.open()
        records = await generator.run()
    assert 0 < len(records) < 50
    assert records.expected.all()


async def test_nobody_listening_is_said_at_the_start() -> None:
    """Without a server there is no run, instead of a run of failures."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError, match="Connect call failed"):
        await Generator(Plan("127.0.0.1", port, KINDS, STAGES)).open()
