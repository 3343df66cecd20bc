"""Listeners are told once a turn, are bounded in number, and never keep a process from leaving."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.live import MOST_LISTENERS, Live
from gateway.moments import Moment
from inference_core.errors import Unavailable
from tests.waiting import eventually

TURN = 0.01


def live(folder: Path, turns: list[int] | None = None) -> Live:
    """Return one with short turns, that counts its readings."""
    return Live(folder, lambda: (turns if turns is not None else []).append(1), every=TURN)


async def listen(one: Live, wanted: int = 1) -> list[Moment]:
    """Listen until so many moments came, or the stream ended."""
    found: list[Moment] = []
    async for told in one.moments():
        found.append(told)
        if len(found) == wanted:
            break
    return found


async def test_all_listeners_share_one_reading(tmp_path: Path) -> None:
    """Ten listeners hear the same moments, and the files are read once for all of them."""
    turns: list[int] = []
    one = live(tmp_path, turns)
    heard = await asyncio.gather(*(listen(one, 3) for _ in range(10)))
    assert all(moments == heard[0] for moments in heard)
    assert len(turns) <= 5


async def test_nobody_listens_and_nothing_is_read(tmp_path: Path) -> None:
    """Readings end with the last listener and begin again with the next."""
    turns: list[int] = []
    one = live(tmp_path, turns)
    await listen(one)
    await eventually(
        lambda: one.listeners == 0 and one._reader is not None and one._reader.done(), "the end of reading"
    )
    before = len(turns)
    assert await listen(one, 2)
    assert len(turns) > before


async def test_listeners_beyond_the_bound_are_refused(tmp_path: Path) -> None:
    """The seventeenth listener is told to close another page, and the others hear on."""
    one = live(tmp_path)
    streams = [one.moments() for _ in range(MOST_LISTENERS)]
    await asyncio.gather(*(anext(stream) for stream in streams))
    with pytest.raises(Unavailable, match="close another page"):
        one.check()
    await streams[0].aclose()  # type: ignore[attr-defined]  # an async generator
    one.check()
    assert (await anext(streams[1])).workers == []
    one.leave()


async def test_leaving_ends_every_stream(tmp_path: Path) -> None:
    """A process that leaves ends its listeners' streams at once and takes no new ones."""
    one = Live(tmp_path, lambda: None, every=3600)
    listeners = [asyncio.create_task(listen(one, 2)) for _ in range(3)]
    await eventually(lambda: one.listeners == 3 and one._history, "the first moment")
    one.leave()
    async with asyncio.timeout(5):
        assert [len(moments) for moments in await asyncio.gather(*listeners)] == [1, 1, 1]
    with pytest.raises(Unavailable, match="leaving"):
        one.check()
