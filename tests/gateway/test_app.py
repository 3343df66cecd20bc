"""What holds for every answer of the gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from falcon.asgi import Request, Response
from falcon.testing import ASGIConductor
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.app import create_app
from gateway.errors import STATUS, status_of
from inference_core import errors
from inference_core.settings import Settings
from tests.gateway.fake_worker import FakeWorker

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def kinds(root: type[errors.InferenceHubError]) -> Iterator[type[errors.InferenceHubError]]:
    """Yield a class of errors and everything below it."""
    yield root
    for kind in root.__subclasses__():
        yield from kinds(kind)


def test_every_expected_error_has_a_status() -> None:
    """The table covers the whole tree."""
    below = [kind for kind in kinds(errors.InferenceHubError) if kind is not errors.InferenceHubError]
    assert len(below) >= len(STATUS)
    assert all(400 <= status_of(kind("A sentence.")) < 600 for kind in below)


@pytest.mark.parametrize(("path", "status"), [("/health", 200), ("/nothing", 404), ("/predict", 405)])
async def test_every_answer_has_both_ids(client: ASGIConductor, path: str, status: int) -> None:
    """Known path, unknown path, wrong method: the ids are there and the error is a sentence."""
    answer = await client.simulate_get(path)
    assert answer.status_code == status
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-trace-id"])
    assert status == 200 or "POST /predict" in answer.json["error"]


async def test_the_callers_ids_are_kept_and_cross_the_hop(client: ASGIConductor, worker: FakeWorker) -> None:
    """A valid traceparent and request id reach the worker and come back; baggage does neither."""
    headers = {"traceparent": PARENT, "X-Request-Id": "order-66", "baggage": "a=b", "Content-Type": "application/json"}
    answer = await client.simulate_post("/predict", body=b'{"prompt": "x"}', headers=headers)
    assert (answer.headers["x-trace-id"], answer.headers["x-request-id"]) == (TRACE, "order-66")
    assert str(worker.metadata["traceparent"]).split("-")[1] == TRACE
    assert worker.metadata["x-request-id"] == "order-66"
    assert "baggage" not in worker.metadata


async def test_metrics_that_are_off_are_an_empty_page(settings: Settings, worker: FakeWorker) -> None:
    """Predictions are answered as ever, and the page says why it has no numbers."""
    telemetry = msgspec.structs.replace(settings.telemetry, metrics=False)
    async with ASGIConductor(create_app(msgspec.structs.replace(settings, telemetry=telemetry))) as client:
        body, headers = b'{"prompt": "x"}', {"Content-Type": "application/json"}
        assert (await client.simulate_post("/predict", body=body, headers=headers)).status_code == 200
        page = await client.simulate_get("/metrics")
    assert len(worker.calls) == 1
    assert page.text.startswith("# There is no folder for metrics: telemetry.metrics is false")


@pytest.mark.parametrize(("length", "kept"), [(512, {"tracestate"}), (513, set())])
async def test_a_long_tracestate_is_dropped(
    client: ASGIConductor, worker: FakeWorker, length: int, kept: set[str]
) -> None:
    """The trace goes on without a tracestate that could outgrow the hop's metadata."""
    state = "a=" + "x" * 252 + ",b=" + "y" * (length - 257)
    headers = {"traceparent": PARENT, "tracestate": state, "Content-Type": "application/json"}
    answer = await client.simulate_post("/predict", body=b'{"prompt": "x"}', headers=headers)
    assert answer.headers["x-trace-id"] == TRACE
    assert worker.metadata.keys() & {"tracestate"} == kept


@pytest.mark.parametrize("offered", ["", "a b", "x" * 65, 'a"b', "ä", "../x"])
async def test_other_request_ids_are_replaced(client: ASGIConductor, offered: str) -> None:
    """A request id that does not fit the pattern is never echoed."""
    answer = await client.simulate_get("/health", headers={"X-Request-Id": offered})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


MALFORMED = [
    "",
    "00",
    PARENT.upper(),
    PARENT.replace(TRACE, "0" * 32),
    f"ff{PARENT[2:]}",
    f"{PARENT}, {PARENT}",
    "x" * 9999,
]


@pytest.mark.parametrize("traceparent", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_malformed_traceparent_starts_a_new_trace(client: ASGIConductor, traceparent: str) -> None:
    """W3C Trace Context: what cannot be parsed is ignored."""
    answer = await client.simulate_get("/health", headers={"traceparent": traceparent})
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-trace-id"])
    assert answer.headers["x-trace-id"] not in {TRACE, "0" * 32}


async def test_one_log_line_for_each_request(client: ASGIConductor) -> None:
    """Method, route, status and milliseconds stand in one line."""
    with capture_logs() as lines:
        await client.simulate_get("/nothing")
    (line,) = [line for line in lines if line["event"] == "request"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "(none)", 404)
    assert line["milliseconds"] > 0


async def test_an_unexpected_error_shows_the_client_nothing(settings: Settings) -> None:
    """The client gets a fixed sentence with the trace id, the log gets the traceback."""

    class Broken:
        """Fails as code does that nobody foresaw."""

        async def on_get(self, _: Request, __: Response) -> None:
            """Raise."""
            raise ZeroDivisionError("secret detail")

    app = create_app(settings)
    app.add_route("/broken", Broken())
    async with ASGIConductor(app) as client:
        with capture_logs() as lines:
            answer = await client.simulate_get("/broken")
    assert answer.status_code == 500
    assert answer.headers["x-trace-id"] in answer.json["error"]
    assert "secret" not in answer.text
    logged: list[Any] = [line for line in lines if line["event"] == "unexpected error"]
    assert isinstance(logged[0]["exc_info"], ZeroDivisionError)


@given(st.sampled_from(list(STATUS)), st.text(max_size=50))
def test_an_errors_sentence_is_what_it_was_given(kind: type[errors.InferenceHubError], sentence: str) -> None:
    """Nothing is added to what the raiser wrote for the client."""
    assert kind(sentence).message == sentence
