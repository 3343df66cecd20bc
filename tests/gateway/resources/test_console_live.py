"""The stream of moments as a browser gets it, and that it never keeps a gateway process from leaving."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from falcon.asgi import App
from falcon.testing import ASGIConductor

from gateway import errors
from gateway.live import MOST_LISTENERS, Live
from gateway.replies import LEAVING
from gateway.resources.console_live import LiveLife, LiveResource
from inference_core.errors import Unavailable

TURN = 0.01


@pytest.fixture
def live(tmp_path: Path) -> Live:
    """Return one with short turns."""
    return Live(tmp_path, lambda: None, every=TURN)


@pytest.fixture
async def asking(live: Live) -> AsyncIterator[ASGIConductor]:
    """Serve the stream."""
    app = App()
    errors.install(app)
    app.add_route("/live", LiveResource(live))
    async with ASGIConductor(app) as running:
        yield running


async def test_a_stream_tells_moments_and_ends_when_the_process_leaves(asking: ASGIConductor, live: Live) -> None:
    """A listener gets events of JSON, which no cache keeps, and the end of the stream at once."""
    async with asking.simulate_get_stream("/live") as answer, asyncio.timeout(5):
        assert answer.headers["content-type"] == "text/event-stream"
        assert answer.headers["cache-control"] == "no-store"
        first = b""
        while b"\n\n" not in first:
            first += await answer.stream.read()
        told = json.loads(first[first.index(b"data: ") + 6 :].split(b"\n")[0])
        assert {"at", "window", "whole", "models", "workers"} == set(told)
        assert b"retry: " in first
        live.leave()
        while await answer.stream.read():
            pass
    assert live.listeners == 0


async def test_one_listener_too_many_gets_a_sentence(asking: ASGIConductor, live: Live) -> None:
    """Beyond the bound, and from a process that leaves, the answer is 503 and not a stream."""
    live.listeners = MOST_LISTENERS
    full = await asking.simulate_get("/live")
    assert (full.status_code, "close another page" in full.json["error"]) == (503, True)
    live.listeners = 0
    live.leave()
    assert (await asking.simulate_get("/live")).status_code == 503


async def test_whatever_else_leaves_early_still_does(live: Live) -> None:
    """The streams end together with the gRPC door, which had asked to be told before."""
    told: list[str] = []
    state: dict[str, Any] = {LEAVING: lambda: told.append("door")}
    await LiveLife(live).process_startup({"state": state}, {})
    state[LEAVING]()
    assert told == ["door"]
    with pytest.raises(Unavailable, match="leaving"):
        live.check()
