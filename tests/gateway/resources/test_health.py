"""GET /health and GET /ready."""

from __future__ import annotations

from typing import Any

from falcon.testing import ASGIConductor

from tests.gateway.fake_worker import FakeWorker
from tests.waiting import eventually_answers


async def test_health_needs_no_worker(client: ASGIConductor) -> None:
    """The gateway's own life is 200 with nobody behind it."""
    answer = await client.simulate_get("/health")
    assert (answer.status_code, answer.json["status"]) == (200, "Gateway is running")


async def test_ready_names_what_is_missing(client: ASGIConductor) -> None:
    """Without workers the reasons name the slot and the models."""
    answer = await client.simulate_get("/ready")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json["reasons"] == [
        "worker 0 does not answer",
        "no worker is ready for sentiment, which predict.prompt_model names",
        "no worker is ready for v1-mock, which predict.features_model names",
    ]


async def test_ready_reports_each_model(client: ASGIConductor, worker: FakeWorker) -> None:
    """What a worker says of its models is what /ready says, soon after it has come."""
    worker.models = {"sentiment": 1}

    async def answer() -> Any:
        report = (await client.simulate_get("/ready")).json
        return report if report["models"]["sentiment"] else None

    report = await eventually_answers(answer, "a report of the worker")
    assert report["models"] == {"v1-mock": [], "sentiment": [0], "late": []}
    assert report["reasons"] == [
        "worker 0: late 1 is LOADING: reading weights",
        "no worker is ready for late",
        "no worker is ready for v1-mock, which predict.features_model names",
    ]
