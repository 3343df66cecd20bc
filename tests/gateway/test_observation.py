"""What the log says of requests: failures each, successes up to a rate, refusals as sums."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from falcon.testing import ASGIConductor
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from structlog.testing import capture_logs

from gateway.app import create_app
from inference_core.settings import Settings, Telemetry
from tests.gateway.fake_worker import FakeWorker, serving
from tests.otel.collector import Collector
from tests.waiting import eventually

JSON = {"Content-Type": "application/json"}
FEW = 3


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Return the log; sums are told soon."""
    monkeypatch.setattr("gateway.observation.REPORT_SECONDS", 0.05)
    with capture_logs() as captured:
        yield captured


@pytest.fixture
async def sparing(settings: Settings, lines: list[Any]) -> AsyncIterator[tuple[ASGIConductor, FakeWorker]]:
    """Return a client of a gateway that logs hardly any success, and its worker."""
    telemetry = msgspec.structs.replace(settings.telemetry, log_lines_per_second=float(FEW))
    fake = FakeWorker()
    async with (
        serving(fake, Path(settings.worker_socket(0))),
        ASGIConductor(create_app(msgspec.structs.replace(settings, telemetry=telemetry))) as client,
    ):
        yield client, fake


async def ask(client: ASGIConductor, count: int, body: bytes = b'{"prompt": "x"}') -> list[int]:
    """Ask that many times at once; return the statuses."""
    asked = (client.simulate_post("/predict", body=body, headers=JSON) for _ in range(count))
    return [answer.status_code for answer in await asyncio.gather(*asked)]


def named(lines: list[Any], event: str) -> list[Any]:
    """Return the lines of one event."""
    return [line for line in lines if line["event"] == event]


async def test_successes_are_logged_up_to_a_rate(sparing: tuple[ASGIConductor, FakeWorker], lines: list[Any]) -> None:
    """Beyond it they are counted, and the count is told: no request is missing from the log altogether."""
    client, _ = sparing
    assert await ask(client, 40) == [200] * 40
    await eventually(lambda: _told(lines) == 40, "the sum")
    assert FEW <= len(named(lines, "request")) <= FEW + 4


def _told(lines: list[Any]) -> int:
    left_out = [int(line["count"]) for line in named(lines, "requests not logged")]
    return len(named(lines, "request")) + sum(left_out)


async def test_failures_are_always_logged(sparing: tuple[ASGIConductor, FakeWorker], lines: list[Any]) -> None:
    """Each of them has its line with its ids and the kind of error, also when successes are no longer told."""
    client, _ = sparing
    await ask(client, 10)
    assert await ask(client, 20, b"no json") == [400] * 20
    failed = [line for line in named(lines, "request") if line["status"] == 400]
    assert len({line["request_id"] for line in failed}) == 20
    assert {line["error_type"] for line in failed} == {"InvalidInput"}
    assert all(len(line["trace_id"]) == 32 and len(line["span_id"]) == 16 for line in failed)


async def test_only_what_the_server_failed_is_an_error(
    sparing: tuple[ASGIConductor, FakeWorker], lines: list[Any]
) -> None:
    """A line about a failure of ours has the level error, one about a client's mistake or a success has not."""
    client, fake = sparing
    await ask(client, 1)
    await ask(client, 1, b"no json")
    fake.status = grpc.StatusCode.INTERNAL
    await ask(client, 1)
    await eventually(lambda: len(named(lines, "request")) == 3, "the lines")
    assert {line["status"]: line["log_level"] for line in named(lines, "request")} == {
        200: "info",
        400: "info",
        502: "error",
    }


async def test_a_probe_that_is_told_no_is_no_failure(
    sparing: tuple[ASGIConductor, FakeWorker], lines: list[Any]
) -> None:
    """What waits for readiness asks again and again; its 503 are logged like successes and not as errors."""
    client, fake = sparing
    fake.models = {"other": 1}
    statuses = [(await client.simulate_get("/ready")).status_code for _ in range(60)]
    await eventually(lambda: _told(lines) == 60, "lines and sum")
    asked = named(lines, "request")
    assert set(statuses) == {503}
    assert 0 < len(asked) < 60
    assert {line["log_level"] for line in asked} == {"info"}


async def test_refusals_are_summed(sparing: tuple[ASGIConductor, FakeWorker], lines: list[Any]) -> None:
    """Under overload the log has one line for each reason and second, not one for each refused request."""
    client, fake = sparing
    fake.status, fake.reason = grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"
    assert await ask(client, 30) == [503] * 30
    await eventually(lambda: sum(line["count"] for line in named(lines, "requests refused")) == 30, "the sum")
    assert {line["reason"] for line in named(lines, "requests refused")} == {"busy"}
    assert named(lines, "request") == []


async def test_nothing_is_lost_at_the_end(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that stops tells what it had not told yet."""
    monkeypatch.setattr("gateway.observation.REPORT_SECONDS", 60.0)
    telemetry = msgspec.structs.replace(settings.telemetry, log_lines_per_second=0.0)
    fake = FakeWorker()
    with capture_logs() as lines:
        async with serving(fake, Path(settings.worker_socket(0))):
            async with ASGIConductor(create_app(msgspec.structs.replace(settings, telemetry=telemetry))) as client:
                assert await ask(client, 5) == [200] * 5
                fake.status, fake.reason = grpc.StatusCode.RESOURCE_EXHAUSTED, "busy"
                assert await ask(client, 4) == [503] * 4
            assert [line["count"] for line in named(lines, "requests not logged")] == [5]
            assert [line["count"] for line in named(lines, "requests refused")] == [4]


async def test_a_line_says_what_was_asked(sparing: tuple[ASGIConductor, FakeWorker], lines: list[Any]) -> None:
    """Model, version, method, route, status and time; the attempts only where there was more than one."""
    client, _ = sparing
    await ask(client, 1)
    await eventually(lambda: named(lines, "request"), "the line")
    (line,) = named(lines, "request")
    assert (line["model"], line["version"], line["method"]) == ("sentiment", "3", "POST")
    assert (line["route"], line["status"]) == ("/predict", 200)
    assert line["milliseconds"] > 0
    assert "attempts" not in line


async def test_lines_of_shared_work_name_no_stranger(
    sparing: tuple[ASGIConductor, FakeWorker], lines: list[Any]
) -> None:
    """What is logged of a worker carries no id of a request that happened to come by."""
    client, _ = sparing
    await ask(client, 3)
    assert all("request_id" not in line for line in named(lines, "worker"))


async def test_a_failed_request_is_kept_whatever_the_rate(settings: Settings) -> None:
    """With no trace a second, a failure's spans reach the collector with its request id; a success's do not."""
    collector = Collector()
    telemetry = Telemetry(otlp_endpoint=collector.endpoint, traces_per_second=0.0)
    fake = FakeWorker()
    try:
        async with (
            serving(fake, Path(settings.worker_socket(0))),
            ASGIConductor(create_app(msgspec.structs.replace(settings, telemetry=telemetry))) as client,
        ):
            assert await ask(client, 20) == [200] * 20
            fake.status = grpc.StatusCode.INTERNAL
            answer = await client.simulate_post(
                "/predict", body=b'{"prompt": "x"}', headers={**JSON, "X-Request-Id": "bad"}
            )
            assert answer.status_code == 502
        names = {span.name for span in collector.spans()}
        (server,) = [span for span in collector.spans() if span.kind == Span.SPAN_KIND_SERVER]
        told = {item.key: item.value.string_value for item in server.attributes}
        assert (told["app.request.id"], told["app.kept"]) == ("bad", "failed")
        assert server.trace_id.hex() == answer.headers["x-trace-id"]
        stages = {"receive", "queue", "inference.GRPCInferenceService/ModelInfer", "respond"}
        assert names == {"POST /predict", *stages}
    finally:
        collector.close()
