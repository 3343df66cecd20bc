"""The gateway's application over a fake worker, without an HTTP server."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest
from falcon.testing import ASGIConductor

from gateway.app import create_app
from inference_core.settings import Settings
from tests.gateway.fake_worker import FakeWorker, serving

DOCUMENT = {
    "gateway": {"max_body_bytes": 1000, "deadline": 2.0},
    "inference": {"workers": 1},
    "telemetry": {"otlp_endpoint": ""},
}


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Return settings with small limits and a run folder of their own, short enough for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        yield msgspec.convert({**DOCUMENT, "layout": {"run_folder": folder}}, Settings)


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[FakeWorker]:
    """Serve slot 0."""
    fake = FakeWorker()
    async with serving(fake, Path(settings.worker_socket(0))):
        yield fake


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[ASGIConductor]:
    """Return a client of the application."""
    async with ASGIConductor(create_app(settings)) as conductor:
        yield conductor
