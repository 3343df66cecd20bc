"""A suspected input runs while nothing else does, and a worker that dies of it leaves a note."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from inference_core import death_note
from inference_core.tensors import Arrays
from model_service.isolation import Isolation
from tests.model_service.functions import classify
from tests.model_service.worker import Gate, Worker, infer_request, loaded, running_worker, until

FINGERPRINT = "0123456789abcdef" * 2
ALONE = (("alone", FINGERPRINT),)


@asynccontextmanager
async def worker_with(note: Path, function: Callable[[Arrays], Arrays]) -> AsyncIterator[Worker]:
    """Run a worker with one model and a place for its note."""
    async with running_worker(loaded("m", function), death_note=note) as worker:
        yield worker


async def test_the_note_is_there_while_the_input_runs_and_gone_afterwards(tmp_path: Path) -> None:
    """Who finds the worker dead reads which input ran alone, and nobody reads it of a worker that lives."""
    gate, note = Gate(), tmp_path / "note"
    async with worker_with(note, gate) as worker:
        call = worker.protocol.ModelInfer(infer_request("m"), metadata=ALONE)
        await gate.wait_entered()
        assert note.read_text().split() == [FINGERPRINT, str(os.getpid())]
        assert death_note.read(note) == ("", 0.0)
        gate.leave.set()
        await call
        assert not note.exists()


async def test_it_begins_when_running_calls_have_ended_and_keeps_new_ones_waiting(tmp_path: Path) -> None:
    """An ordinary call is never computed at the same time as a suspected one."""
    gate, note = Gate(), tmp_path / "note"
    order: list[float] = []

    def noting(inputs: Arrays) -> Arrays:
        order.extend(inputs["features"][:, 0].tolist())
        return gate(inputs) if inputs["features"][0, 0] == 1 else classify(inputs)

    def row(number: float) -> Arrays:
        return {"features": np.array([[number]], np.float32)}

    async with worker_with(note, noting) as worker:
        first = worker.protocol.ModelInfer(infer_request("m", arrays=row(1)))
        await gate.wait_entered()
        alone = asyncio.ensure_future(worker.protocol.ModelInfer(infer_request("m", arrays=row(2)), metadata=ALONE))
        await asyncio.wait([alone], timeout=0.05)
        later = worker.protocol.ModelInfer(infer_request("m", arrays=row(3)))
        assert not note.exists()
        gate.leave.set()
        await asyncio.gather(first, alone, later)
    assert order == [1, 2, 3]


async def test_suspected_inputs_never_keep_ordinary_ones_out(tmp_path: Path) -> None:
    """Between two suspected inputs, the ordinary calls that wait have their turn."""
    isolation, go = Isolation(tmp_path / "note"), asyncio.Event()
    order: list[str] = []

    async def suspected() -> None:
        async with isolation.alone(FINGERPRINT):
            order.append("alone")
            await go.wait()

    async def ordinary() -> None:
        await isolation.wait_open()
        isolation.begin()
        order.append("ordinary")
        isolation.end()

    tasks = [asyncio.create_task(suspected()) for _ in range(3)]
    await until(lambda: bool(order))
    tasks.append(asyncio.create_task(ordinary()))
    await asyncio.wait(tasks, timeout=0.02)
    go.set()
    await asyncio.gather(*tasks)
    assert order == ["alone", "ordinary", "alone", "alone"]


@pytest.mark.parametrize("value", ["", "x" * 32, "../note", FINGERPRINT.upper(), FINGERPRINT + "0"])
async def test_what_is_no_fingerprint_asks_for_nothing(tmp_path: Path, value: str) -> None:
    """A metadata value of another form is ignored and never written anywhere."""
    gate, note = Gate(), tmp_path / "note"
    async with worker_with(note, gate) as worker:
        call = worker.protocol.ModelInfer(infer_request("m"), metadata=(("alone", value),))
        await gate.wait_entered()
        assert not note.exists()
        gate.leave.set()
        await call


def test_a_note_of_an_earlier_process_is_removed_at_the_start(tmp_path: Path) -> None:
    """A worker that starts does not accuse what its predecessor died of."""
    note = tmp_path / "note"
    note.write_text(FINGERPRINT)
    Isolation(note)
    assert not note.exists()


async def test_a_caller_that_leaves_does_not_open_the_door(tmp_path: Path) -> None:
    """A suspected input is noted, and the others wait, until its computation has ended, even if nobody wants it."""
    gate, note = Gate(), tmp_path / "note"
    async with worker_with(note, gate) as worker:
        alone = worker.protocol.ModelInfer(infer_request("m"), metadata=ALONE)
        await gate.wait_entered()
        alone.cancel()
        later = asyncio.ensure_future(worker.protocol.ModelInfer(infer_request("m")))
        await asyncio.wait([later], timeout=0.1)
        assert note.read_text().split()[0] == FINGERPRINT
        assert not later.done()
        gate.leave.set()
        await later
        assert not note.exists()
