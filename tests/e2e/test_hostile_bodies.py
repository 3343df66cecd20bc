"""A thousand hostile bodies on the running system: each gets a plain answer, and nothing else happens."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from tests import web
from tests.e2e.hostile_bodies import ANSWERED_OR_REFUSED, GENERATED, Hostile, hand_written, mistakes_in
from tests.e2e.system import System
from tests.waiting import wait_for

EACH_GENERATED = 200
LINE_LIMIT = 4096


@dataclass
class Campaign:
    """What was sent, after which statuses the connection ended, and what was wrong with the answers."""

    client: httpx.Client
    sent: int = 0
    ended_by: set[int] = field(default_factory=set)
    mistakes: list[str] = field(default_factory=list)

    def send(self, body: Hostile) -> None:
        """Send one body and note whatever is wrong with its answer."""
        answer = self.client.post("/predict", content=body.data, headers=body.headers)
        self.sent += 1
        if answer.headers.get("connection") == "close":
            self.ended_by.add(answer.status_code)
        shown = f"{body.row} {body.data[:80]!r} ({len(body.data)} bytes) -> {answer.status_code}"
        self.mistakes += [f"{shown}: {mistake} in {answer.text[:300]}" for mistake in mistakes_in(answer, body)]

    def send_generated(self, strategy: SearchStrategy[bytes]) -> None:
        """Send what hypothesis makes up."""

        @settings(max_examples=EACH_GENERATED, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(strategy)
        def send(data: bytes) -> None:
            self.send(Hostile("generated", data, ANSWERED_OR_REFUSED))

        send()


@dataclass(frozen=True)
class Aftermath:
    """A campaign, and the processes before and after it."""

    campaign: Campaign
    before: frozenset[int]
    after: frozenset[int]


@pytest.fixture(scope="module")
def aftermath(system: System) -> Aftermath:
    """Send every hand-written body, then the generated ones."""
    system.wait_until_ready()
    before = frozenset(system.processes())
    with web.client(base_url=system.url, timeout=30) as client:
        campaign = Campaign(client)
        for body in hand_written():
            campaign.send(body)
        for strategy in GENERATED.values():
            campaign.send_generated(strategy)
    return Aftermath(campaign, before, frozenset(system.processes()))


def test_a_thousand_bodies_are_answered_well(aftermath: Aftermath) -> None:
    """Each gets 200 or its 4xx, one JSON object of known keys with both ids, and nothing of the inside."""
    assert aftermath.campaign.sent >= 1000
    assert aftermath.campaign.mistakes == []


def test_connections_outlive_bad_bodies(aftermath: Aftermath) -> None:
    """Only an answer that came before its body was read ends the connection; every other leaves it usable."""
    assert aftermath.campaign.ended_by == {415}


def test_no_process_was_replaced(aftermath: Aftermath) -> None:
    """Supervisor, gateways and workers are the very processes that were there before."""
    assert len(aftermath.before) >= 6
    assert aftermath.after == aftermath.before


def test_both_gateways_still_answer(aftermath: Aftermath, system: System) -> None:
    """Predictions are answered by each of the two gateway processes."""
    wanted = uuid.uuid4().hex

    def members() -> bool:
        found = system.curl("/predict", '{"prompt": "fine"}', "-H", f"X-Request-Id: {wanted}")
        assert found.status == httpx.codes.OK
        lines = [line for line in system.log_lines("gateway") if line.get("request_id") == wanted]
        return {line["member"] for line in lines} == {"0", "1"}

    wait_for(members, "an answer from both gateway processes")


def test_logs_stay_whole(aftermath: Aftermath, system: System) -> None:
    """Every log line is one JSON object within 4096 bytes, and none reports an unexpected error."""
    files = sorted((system.run_folder / "logs").glob("[gi]*.log"))
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    assert len(lines) >= aftermath.campaign.sent
    assert max(map(len, lines)) <= LINE_LIMIT
    events = [json.loads(line) for line in lines]
    assert [event for event in events if event["event"] == "unexpected error" or "exception" in event] == []
