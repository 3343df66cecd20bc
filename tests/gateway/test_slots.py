"""A slot's state follows its worker, whatever the worker does."""

from __future__ import annotations

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from gateway.slots import Slot, State
from gateway.workers import Workers
from inference_core.raw_messages import request_bytes
from inference_pb import open_inference_pb2 as wire
from tests.gateway.fake_worker import FakeWorker, serving
from tests.gateway.hop import MEGABYTE, hop
from tests.gateway.worker_process import process
from tests.waiting import eventually

REQUEST = request_bytes(wire.ModelInferRequest(model_name="tiny"), {"features": np.full((1, 2), 7, "<f4")})


@pytest.fixture
def socket() -> Iterator[Path]:
    """Return a socket's path, short enough."""
    with tempfile.TemporaryDirectory(prefix="slot-") as folder:
        yield Path(folder) / "0.sock"


@asynccontextmanager
async def slot_at(socket: Path) -> AsyncIterator[tuple[Slot, list[State]]]:
    """Connect one slot; return it with the states it goes through."""
    workers = Workers([socket], MEGABYTE, 2)
    (slot,) = workers.slots
    seen: list[State] = []
    workers.listen(lambda: seen.append(slot.state))
    workers.connect()
    try:
        yield slot, seen
    finally:
        await workers.close()


async def becomes(slot: Slot, state: State) -> None:
    """Wait for a state."""
    await eventually(lambda: slot.state is state, f"state {state.value}")


async def test_a_slot_without_a_worker_is_absent(socket: Path) -> None:
    """Nobody there: no state but absent, no models, no answer to a probe."""
    async with slot_at(socket) as (slot, seen):
        assert await slot.probe() is None
        assert not slot.is_connected()
        assert (slot.state, seen, slot.models) == (State.ABSENT, [], {})


async def test_a_worker_that_loads_and_serves(socket: Path) -> None:
    """NOT_SERVING means connecting; SERVING means ready, with the models known before anybody is told."""
    async with slot_at(socket) as (slot, seen), serving(FakeWorker(), socket, healthy=False) as running:
        await becomes(slot, State.CONNECTING)
        assert slot.models == {}
        await running.tell(healthy=True)
        await becomes(slot, State.READY)
        assert seen == [State.CONNECTING, State.READY]
        assert {name: facts.max_rows for name, facts in slot.models.items()} == running.worker.models
        assert "late" not in slot.models


async def test_a_worker_that_is_not_ours_is_asked_over_its_channel(socket: Path) -> None:
    """Another server in a worker's place has no socket for batches, and gets them as any client's."""
    async with slot_at(socket) as (slot, _), serving(FakeWorker(), socket, is_foreign=True) as running:
        await becomes(slot, State.READY)
        assert slot.is_connected()
        await slot.infer(REQUEST, 5.0, ())
        assert [asked.values for asked in running.worker.calls] == [[7]]


async def test_a_broken_hop_is_opened_again_before_more_work_comes(socket: Path) -> None:
    """A connection that breaks alone takes its worker's batches with it, and the next ones get a new one."""
    async with slot_at(socket) as (slot, seen), serving(FakeWorker(), socket) as running:
        await becomes(slot, State.READY)
        await eventually(lambda: running.hop.connections, "the worker's side of the connection")
        for connection in list(running.hop.connections):
            connection.transport.abort()
        await eventually(lambda: not slot.is_connected(), "the connection's end")
        slot.suspect()
        await becomes(slot, State.READY)
        assert slot.is_connected()
        await slot.infer(REQUEST, 5.0, ())
        assert seen == [State.READY, State.SUSPECT, State.READY]


async def test_a_worker_that_drains_and_leaves(socket: Path) -> None:
    """NOT_SERVING after SERVING means draining until the connection ends, then absent, without models."""
    async with slot_at(socket) as (slot, seen):
        async with serving(FakeWorker(), socket) as running:
            await becomes(slot, State.READY)
            await running.tell(healthy=False)
            await becomes(slot, State.DRAINING)
            assert slot.models
        await becomes(slot, State.ABSENT)
        assert seen == [State.READY, State.DRAINING, State.ABSENT]
        assert slot.models == {}


async def test_a_worker_that_changes_its_mind_gets_work_again(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A foreign server may stop serving and begin again on the same connection."""
    monkeypatch.setattr("gateway.slots.REFRESH_SECONDS", 0.05)
    async with slot_at(socket) as (slot, _), serving(FakeWorker(), socket) as running:
        await becomes(slot, State.READY)
        await running.tell(healthy=False)
        await becomes(slot, State.DRAINING)
        await running.tell(healthy=True)
        await becomes(slot, State.READY)


async def test_a_worker_that_dies_and_comes_back(socket: Path) -> None:
    """A cut connection makes the slot absent at once; the next worker in it is ready soon."""
    async with slot_at(socket) as (slot, _), serving(FakeWorker(), socket) as running:
        await becomes(slot, State.READY)
        for _ in range(3):
            running.line.cut()
            await becomes(slot, State.ABSENT)
            await running.line.open()
            await becomes(slot, State.READY)


async def test_a_server_that_knows_no_model_config(socket: Path) -> None:
    """Where nobody tells, one row is what a model takes at once."""
    async with slot_at(socket) as (slot, _), serving(FakeWorker(models={"tiny": None, "big": 8}), socket):
        await becomes(slot, State.READY)
        assert {name: facts.max_rows for name, facts in slot.models.items()} == {"tiny": 1, "big": 8}


async def test_models_that_come_and_go_are_seen(socket: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of models is asked again and again, and listeners are told of a change only."""
    monkeypatch.setattr("gateway.slots.REFRESH_SECONDS", 0.02)
    fake = FakeWorker(models={"tiny": 4})
    async with slot_at(socket) as (slot, seen), serving(fake, socket):
        await becomes(slot, State.READY)
        fake.models = {"tiny": 4, "more": 2}
        await eventually(lambda: "more" in slot.models, "the new model")
        fake.models = {"more": 2}
        await eventually(lambda: "tiny" not in slot.models, "the end of the old one")
        assert seen == [State.READY] * 3


async def test_models_are_asked_for_again_only_where_their_worker_has_others(
    socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle system with many models asks one question a second, and a model loaded anew is seen all the same."""
    monkeypatch.setattr("gateway.slots.REFRESH_SECONDS", 0.02)
    fake = FakeWorker(models={"tiny": 4}, revision="1-1")
    async with slot_at(socket) as (slot, _), serving(fake, socket):
        await becomes(slot, State.READY)
        asked = fake.indexes_asked
        await eventually(lambda: fake.indexes_asked > asked + 3, "some looks")
        assert fake.configs_asked == 1
        fake.models, fake.revision = {"tiny": 8}, "2-1"
        await eventually(lambda: slot.models["tiny"].max_rows == 8, "the new one")
        assert fake.configs_asked == 2


async def test_a_model_that_somebody_asks_for_is_looked_for_at_once(
    socket: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It need not wait for the next turn, which here would never come."""
    monkeypatch.setattr("gateway.slots.REFRESH_SECONDS", 600.0)
    monkeypatch.setattr("gateway.looks.SOONEST_SECONDS", 0.01)
    fake = FakeWorker(models={"tiny": 4})
    async with slot_at(socket) as (slot, _), serving(fake, socket):
        await becomes(slot, State.READY)
        for name in ("more", "still-more"):
            fake.models = {**fake.models, name: 2}
            slot.looks.hurry()
            await eventually(lambda: slot.models.keys() == fake.models.keys(), "the new model")


async def test_suspicion_ends_where_the_event_loop_answers(socket: Path) -> None:
    """A worker that is suspected for nothing is ready again within milliseconds; an absent one is never suspect."""
    async with slot_at(socket) as (slot, seen):
        slot.suspect()
        assert slot.state.value == "absent"
        async with serving(FakeWorker(), socket):
            await becomes(slot, State.READY)
            for _ in range(3):
                slot.suspect()
                slot.suspect()
                assert slot.state is State.SUSPECT
                await becomes(slot, State.READY)
        assert seen[:7] == [State.READY, *[State.SUSPECT, State.READY] * 3]


async def test_a_suspect_that_dies_is_absent(socket: Path) -> None:
    """Suspicion never brings back a worker that is gone."""
    async with slot_at(socket) as (slot, seen), serving(FakeWorker(), socket) as running:
        await becomes(slot, State.READY)
        running.line.cut()
        slot.suspect()
        await becomes(slot, State.ABSENT)
        assert State.READY not in seen[1:]


async def test_listeners_that_fail_change_nothing(socket: Path) -> None:
    """An exception in a listener neither ends the minding of a slot nor keeps it from the others."""
    workers = Workers([socket], MEGABYTE, 2)
    told: list[State] = []

    def broken() -> None:
        raise ZeroDivisionError

    workers.listen(broken)
    workers.listen(lambda: told.append(workers.slots[0].state))
    workers.connect()
    try:
        async with serving(FakeWorker(), socket):
            await becomes(workers.slots[0], State.READY)
        await becomes(workers.slots[0], State.ABSENT)
    finally:
        await workers.close()
    assert told == [State.READY, State.ABSENT]


async def test_closing_leaves_no_task(socket: Path) -> None:
    """After `close` nothing of a slot runs on, whatever state it was in."""
    before = asyncio.all_tasks()
    async with slot_at(socket) as (slot, _), serving(FakeWorker(), socket):
        await becomes(slot, State.READY)
        slot.suspect()
    await eventually(lambda: asyncio.all_tasks() == before, "the end of all tasks")


async def test_a_stopped_process_is_noticed_and_taken_again(socket: Path) -> None:
    """A worker under SIGSTOP gets no work within two seconds; after SIGCONT it is ready; SIGKILL makes it absent."""
    with process(socket) as popen:
        async with slot_at(socket) as (slot, _):
            await becomes(slot, State.READY)
            popen.send_signal(signal.SIGSTOP)
            await eventually(lambda: slot.state is not State.READY, "noticing", 3.0)
            popen.send_signal(signal.SIGCONT)
            await becomes(slot, State.READY)
            popen.kill()
            await becomes(slot, State.ABSENT)


async def test_a_cut_connection_is_no_connection() -> None:
    """`is_connected` and `answers` say so before the health stream has."""
    async with hop(FakeWorker()) as one:
        (slot,) = one.workers.slots
        assert slot.is_connected()
        assert await slot.answers()
        one.running[0].line.cut()
        await eventually(lambda: not slot.is_connected(), "noticing", 1.0)
        assert not await slot.answers()
