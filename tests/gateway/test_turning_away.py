"""A request that is refused before anything is made of it: what its client and the metrics are told of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from gateway.direct import DirectPredict
from gateway.keeping import Keeping
from gateway.observation import Kept, Observer
from gateway.predictions import Predictions
from gateway.replies import Fields, Reply
from gateway.request_spans import RequestSpans
from gateway.routing import Rule
from gateway.tally import Tally
from gateway.traffic import Traffic
from gateway.traffic_file import TrafficFile
from inference_core.deadline import now
from inference_core.settings import Gateway, Predict, Telemetry
from inference_core.settings import Traffic as Settings
from otel.allowance import Allowance
from otel.metrics import GatewayMetrics
from otel.requests import RequestTraces
from tests.gateway.fake_worker import FakeWorker
from tests.gateway.hop import MODEL, Hop, hop
from tests.inference_core.request import Request
from tests.otel.recorded import recorder_to

BODY = b'{"features": [1, 2], "model_name": "tiny"}'
HURRY = {b"x-request-timeout": b"2"}
"""Half of it is less than 190 rows at 100 a second take."""


@dataclass
class Door:
    """The direct route of a gateway before a hop, its metrics and spans."""

    hop: Hop
    route: DirectPredict
    traffic: Traffic
    file: TrafficFile
    tally: Tally
    registry: CollectorRegistry
    spans: InMemorySpanExporter

    def crowd(self) -> None:
        """Let 190 rows wait for the model, which answers 100 a second."""
        admission = self.hop.dispatcher.queues[MODEL, ""].admission
        for number in range(5):
            admission.drained(10, 0.1, now() - 1 + number / 10, leaves_others=True)
        admission.put_back(Request(190, 1520))

    def ask(self, fields: dict[bytes, bytes], body: bytes = BODY) -> list[Reply]:
        """Ask as a request does that nobody turns away at once; return its answer, none while it waits."""
        replies: list[Reply] = []
        self.route(Fields(fields.items()), body, replies.append)
        return replies

    def turn_away(self, fields: dict[bytes, bytes], body: bytes = BODY) -> Reply | None:
        """Return the answer to a request that is refused at once, or None."""
        return self.route.turn_away(Fields(fields.items()), body)

    def count(self, name: str, **labels: str) -> float:
        """Return a metric's value now."""
        self.tally.flush()
        return self.registry.get_sample_value(f"inferencehub_gateway_{name}", labels) or 0.0


@asynccontextmanager
async def door(folder: Path) -> AsyncIterator[Door]:
    """Return a direct route whose model is known and idle."""
    registry = CollectorRegistry()
    tally = Tally(GatewayMetrics(registry))
    telemetry = Telemetry(otlp_endpoint="http://127.0.0.1:1", traces_per_second=0, sample_ratio=0)
    async with hop(FakeWorker()) as each:
        await each.ask(1)
        file, spans = TrafficFile(folder, "gateway-0"), InMemorySpanExporter()
        traffic = Traffic(each.dispatcher, file, Settings(), 1)
        kept = Kept(RequestTraces(telemetry), Keeping(telemetry), RequestSpans(recorder_to(spans)))
        observer = Observer(kept, Allowance(0), tally)
        route = DirectPredict(Predictions(traffic, Predict()), observer, Gateway(), Settings())
        yield Door(each, route, traffic, file, tally, registry, spans)
        observer.close()


def without_ids(reply: Reply) -> Reply:
    """Return a reply without what differs by nature."""
    return msgspec.structs.replace(reply, request_id="", trace_id="")


async def test_the_answer_is_that_of_the_whole_way(tmp_path: Path) -> None:
    """Status, sentence and Retry-After are the same as those of a request that was refused later."""
    async with door(tmp_path) as found:
        found.crowd()
        [later] = found.ask(HURRY)
        at_once = found.turn_away(HURRY)
        assert at_once is not None
        assert (at_once.status, at_once.retry_after) == (503, 2)
        assert without_ids(at_once) == without_ids(later)
        assert at_once.request_id != later.request_id


async def test_it_is_counted_as_one_of_the_whole_way(tmp_path: Path) -> None:
    """Requests, seconds and refusals by reason go on as if each had gone the whole way."""
    async with door(tmp_path) as found:
        found.crowd()
        found.ask(HURRY)
        for _ in range(4):
            assert found.turn_away(HURRY) is not None
        assert found.count("requests_total", model=MODEL, version="", code="503") == 5
        assert found.count("request_seconds_count", model=MODEL, version="") == 5
        assert found.count("refusals_total", model=MODEL, reason="deadline") == 5


async def test_some_have_their_trace(tmp_path: Path) -> None:
    """What refusing looks like can be seen: the model, the status and why it was kept."""
    async with door(tmp_path) as found:
        found.crowd()
        found.ask(HURRY)
        found.spans.clear()
        reply = found.turn_away(HURRY)
        assert reply is not None
        [span] = found.spans.get_finished_spans()
        assert span.context is not None
        assert span.attributes is not None
        assert f"{span.context.trace_id:032x}" == reply.trace_id
        assert (span.attributes["app.model.name"], span.attributes["app.kept"]) == (MODEL, "refused")
        assert span.attributes["http.response.status_code"] == 503


async def test_nobody_is_turned_away_before_the_first_refusal(tmp_path: Path) -> None:
    """Without overload this costs nothing: it is looked at only while requests are refused."""
    async with door(tmp_path) as found:
        assert found.turn_away(HURRY) is None
        found.crowd()
        assert found.turn_away(HURRY) is None


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({b"x-request-timeout": b"60"}, BODY),
        ({b"x-request-timeout": b"0"}, BODY),
        ({**HURRY, b"x-priority": b"high"}, BODY),
        ({**HURRY, b"x-model-version": b"1"}, BODY),
        ({**HURRY, b"x-user-key": b"me"}, BODY),
        (HURRY, BODY.replace(b"tiny", b"other")),
        (HURRY, b"{"),
    ],
    ids=["patient", "no-time", "no-priority", "version", "user", "other-model", "no-json"],
)
async def test_what_needs_a_closer_look_goes_the_whole_way(
    tmp_path: Path, fields: dict[bytes, bytes], body: bytes
) -> None:
    """Patience, mistakes, a wanted version and other models are not what is refused now."""
    async with door(tmp_path) as found:
        found.crowd()
        found.ask(HURRY)
        assert found.turn_away(fields, body) is None


async def test_a_model_with_a_rule_goes_the_whole_way(tmp_path: Path) -> None:
    """Which version is asked has to be drawn first, and its queue may be empty."""
    async with door(tmp_path) as found:
        found.crowd()
        found.ask(HURRY)
        event = found.file.event(MODEL, "changed")
        found.file.update(lambda document: document.with_rule(event, Rule({"1": 100.0})))
        found.traffic.poll()
        assert found.turn_away(HURRY) is None


@pytest.mark.parametrize("crowded", [False, True])
async def test_a_mistake_is_counted_for_its_model(tmp_path: Path, crowded: bool) -> None:  # noqa: FBT001  # a parameter
    """Whether others are refused meanwhile or not: the model is known before the mistake is."""
    async with door(tmp_path) as found:
        found.route.predictions._traffic._dispatcher.is_refusing = crowded
        [reply] = found.ask({}, b'{"features": [], "model_name": "tiny"}')
        assert reply.status == 400
        assert found.count("requests_total", model=MODEL, version="", code="400") == 1


async def test_refused_requests_earn_no_retries(tmp_path: Path) -> None:
    """Retries are a share of what is let in: under overload more of them would be the last thing to help."""
    async with door(tmp_path) as found:
        found.crowd()
        budget = found.hop.dispatcher._shared.retries
        budget.spend(int(budget._tokens))
        for _ in range(20):
            found.hop.dispatcher.is_refusing = False
            assert found.ask(HURRY)[0].status == 503
        assert not budget.spend(1)
