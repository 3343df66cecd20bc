"""The models as one document, and the texts that were written about them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from falcon.testing import ASGIConductor

from gateway.app import create_app
from gateway.resources.console_models import LARGEST_CARD
from inference_core.settings import Settings
from tests.gateway.fake_worker import FakeWorker
from tests.waiting import eventually_answers


async def test_a_model_that_loads_is_told_beside_one_that_serves(client: ASGIConductor, worker: FakeWorker) -> None:
    """Every version has its state and reason; what no worker can describe has no signature, and is no error."""
    worker.models = {"sentiment": 8}

    async def answer() -> Any:
        found = await client.simulate_get("/console/api/models")
        return found.json if found.status_code == 200 and found.json["models"][1]["versions"][0]["slots"] else None

    found = await eventually_answers(answer, "the models")
    late, sentiment = found["models"]
    assert (late["name"], late["metadata"], late["versions"][0]["reason"]) == ("late", None, "reading weights")
    assert (sentiment["versions"][0]["state"], sentiment["versions"][0]["slots"]) == ("READY", [0])
    assert found["defaults"] == ["sentiment", "v1-mock"]


async def test_without_workers_the_page_is_told_so(client: ASGIConductor) -> None:
    """No worker is 503 with the usual sentence."""
    answer = await client.simulate_get("/console/api/models")
    assert answer.status_code == 503
    assert "GET /ready" in answer.json["error"]


@pytest.fixture
async def cards(settings: Settings, tmp_path: Path) -> AsyncIterator[ASGIConductor]:
    """Serve a gateway whose repository has cards, and one that leads out of it."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "README.md").write_bytes(b"# <b>m</b>\n" + b"x" * (LARGEST_CARD + 1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "README.md").symlink_to("/etc/passwd")
    (tmp_path / "none").mkdir()
    for name in ("fifo", "folder", "loop"):
        (tmp_path / name).mkdir()
    os.mkfifo(tmp_path / "fifo" / "README.md")
    (tmp_path / "folder" / "README.md").mkdir()
    (tmp_path / "loop" / "README.md").symlink_to("README.md")
    changed = msgspec.structs.replace(settings.inference, repository=str(tmp_path))
    async with ASGIConductor(create_app(msgspec.structs.replace(settings, inference=changed))) as conductor:
        yield conductor


async def test_a_card_is_text_of_a_bounded_size(cards: ASGIConductor) -> None:
    """What is in README.md comes as a JSON string, the first part of one that is too long."""
    answer = await cards.simulate_get("/console/api/models/m/card")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["text"].startswith("# <b>m</b>\n")
    assert len(answer.json["text"]) == LARGEST_CARD


@pytest.mark.parametrize("name", ["fifo", "folder", "loop"])
async def test_a_card_that_is_no_file_holds_nobody_up(cards: ASGIConductor, name: str) -> None:
    """A pipe that nobody writes into, a folder and a link to itself are 404 at once."""
    answer = await asyncio.wait_for(cards.simulate_get(f"/console/api/models/{name}/card"), 5)
    assert answer.status_code == 404


@pytest.mark.parametrize("name", ["out", "none", "nobody", "..", "%2e%2e", "m%2f..%2fm", "m%00"])
async def test_nothing_outside_the_repository_is_read(cards: ASGIConductor, name: str) -> None:
    """A link that leads out, a missing card and a name that is none are 404."""
    assert (await cards.simulate_get(f"/console/api/models/{name}/card")).status_code == 404
