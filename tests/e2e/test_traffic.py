"""Traffic between versions on the running system: the split, who meets what, a broken arm, kept answers."""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deploy.load.plan import Kind, Plan, Stage
from deploy.load.process import sending, sent
from deploy.repositories import SAMPLES, repository
from tests import web
from tests.e2e.pair_model import BODY, add_pair
from tests.e2e.system import System
from tests.waiting import wait_for

PATH = "/admin/traffic/pair"
JSON = {"Content-Type": "application/json"}
REQUESTS, RATE = 10_000, 1000.0
"""At twice that rate a machine of two cores that has anything else to do refuses some, as it must."""

AFTERWARDS = 100
LEFT = {"1": 100.0, "3": 0.0}
LOWEST, HIGHEST = 923, 1077
"""What a binomial distribution of 10,000 and 0.1 stays within in 99 of 100 cases: 1000 ± 2.576 · 30."""


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Start a system that also has the model `pair`."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder, repository(SAMPLES) as models:
        add_pair(models)
        running = System(Path(folder), inference={"repository": str(models)})
        try:
            running.start()
            yield running
        finally:
            running.stop()


def told(system: System, split: Mapping[str, float]) -> int:
    """Return how often a gateway process said that it follows such a split."""
    lines = [line for line in system.log_lines("gateway") if line["event"] == "traffic rules"]
    return sum(line["rules"].get("pair") == split for line in lines)


def set_rule(system: System, rule: Mapping[str, Any]) -> Any:
    """Set the rule of `pair` with curl, as the README says, and return the answer once all processes follow it."""
    before = told(system, rule["split"])
    answer = system.curl(PATH, json.dumps(rule), "-X", "PUT")
    assert answer.status == 200, answer.body
    assert answer.body["warnings"] == []
    wait_for(lambda: told(system, rule["split"]) >= before + 2, "both gateway processes' following")
    return answer.body


def arms(system: System) -> Counter[str]:
    """Return how many requests each arm answered, from the metrics page."""
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(web.get(f"{system.url}/metrics").text):
        for sample in family.samples:
            if sample.name == "inferencehub_gateway_arm_requests_total" and sample.labels["model"] == "pair":
                counts[sample.labels["arm"]] += int(sample.value)
    return counts


def load(system: System, rate: float, seconds: float) -> Plan:
    """Return requests at regular intervals."""
    return Plan("127.0.0.1", system.http_port, (Kind("pair", BODY),), (Stage(rate, seconds),), arrivals="fixed")


def canaries(system: System) -> int:
    """Send REQUESTS and return how many of them the canary answered, whichever process took them."""
    before = arms(system)
    records = sent(load(system, RATE, REQUESTS / RATE)).records
    assert set(records.statuses()) == {"200"}
    wait_for(lambda: (arms(system) - before).total() >= len(records), "the counts of both processes")
    found = arms(system) - before
    line = f"{len(records)} requests at 90/10: {dict(found)}; 99 % interval of the canary {LOWEST} to {HIGHEST}"
    print(line)  # noqa: T201  # what pytest -s shows
    assert found.total() == len(records) == REQUESTS
    return found["canary"]


def test_ten_thousand_requests_are_split_as_the_rule_says(system: System) -> None:
    """The canary's share lies within the 99 % binomial interval."""
    set_rule(system, {"split": {"stable": 90, "canary": 10}, "labels": {"stable": "1", "canary": "2"}})
    # A right split misses the interval once in a hundred times; missing it twice running is one in ten thousand.
    assert any(LOWEST <= canaries(system) <= HIGHEST for _ in range(2))


def test_a_user_never_moves(system: System) -> None:
    """The same key meets the same arm in both processes, after a restart of all of them, and while the canary grows."""
    users = [f"user-{number}" for number in range(30)]

    def met() -> dict[str, str]:
        found: dict[str, str] = {}
        for _ in range(2):
            for user in users:
                with web.client() as client:  # a new connection, so that either process may take it
                    answer = client.post(f"{system.url}/predict", content=BODY, headers={**JSON, "X-User-Key": user})
                arm = answer.headers["x-model-arm"]
                assert answer.json()["model_version"] == {"stable": "1", "canary": "2"}[arm]
                assert found.setdefault(user, arm) == arm
        return found

    rule = {"labels": {"stable": "1", "canary": "2"}}
    set_rule(system, {**rule, "split": {"stable": 70, "canary": 30}})
    before = met()
    system.control("restart", "gateway:*")
    system.wait_until_ready()
    assert met() == before
    set_rule(system, {**rule, "split": {"stable": 30, "canary": 70}})
    after = met()
    assert {user for user in users if before[user] == "canary"} < {user for user in users if after[user] == "canary"}
    print(f"{Counter(before.values())} of 30 users at 70/30, {Counter(after.values())} at 30/70; nobody moved back")  # noqa: T201


def test_a_broken_canary_loses_its_traffic(system: System) -> None:
    """Within ten seconds, with a log line, a metric and an event that say why; then no request fails any more."""
    set_rule(system, {"split": {"1": 90, "3": 10}, "rollback": {}})
    with sending(load(system, 100.0, 12.0)) as running:
        started = time.monotonic()

        def rolled_back() -> Any:
            found = web.get(f"{system.url}{PATH}").json()
            return found if found["events"][-1]["what"] == "rolled back" else None

        report = wait_for(rolled_back, "the rollback", 10.0, 0.1)
        seconds = time.monotonic() - started
        line = system.log_line("gateway", "arm rolled back", model="pair", arm="3")
        wait_for(lambda: told(system, LEFT) == 2, "both gateway processes' following")
        since, answered = time.monotonic(), arms(system)["1"]
        wait_for(lambda: arms(system)["1"] >= answered + AFTERWARDS, "some requests afterwards")
        records = running.stop().records
    print(f"rolled back after {seconds:.1f} s: {line['why']}")  # noqa: T201
    assert seconds < 10.0
    assert report["rule"]["split"] == LEFT
    assert "3 failed" in line["why"]
    assert report["events"][-1]["why"]
    late = records.where(records.due > since)
    assert len(late) > 50
    assert set(late.statuses()) == {"200"}
    assert records.statuses()["502"] < 100
    page = web.get(f"{system.url}/metrics").text
    assert 'inferencehub_gateway_rollbacks_total{arm="3",model="pair"}' in page


def test_two_models_with_the_same_payload_get_their_own_kept_answers(system: System) -> None:
    """A hit says so in a header and is the model's own answer; the other model's is another one."""
    for model in ("pair", "v1-mock"):
        answer = system.curl(f"/admin/traffic/{model}", '{"split": {"1": 1}, "cache": {"seconds": 60}}', "-X", "PUT")
        assert answer.status == 200
    with web.client(headers=JSON) as client:  # one connection, so one process with its cache

        def kept(model: str) -> str:
            body = json.dumps({"features": [1.0, 2.0], "model_name": model})
            found = client.post(f"{system.url}/predict", content=body)
            assert found.json()["model_name"] == model
            return str(found.headers.get("x-cache", "none"))

        # The process that answers may be the one that does not follow the rules yet.
        wait_for(lambda: {kept("pair"), kept("v1-mock")} == {"hit"}, "kept answers of both models")
        assert [kept(model) for model in ("pair", "v1-mock") * 3] == ["hit"] * 6
    for model in ("pair", "v1-mock"):
        assert web.delete(f"{system.url}/admin/traffic/{model}").status_code == 204
