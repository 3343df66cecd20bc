"""/admin/traffic: rules are set, read and taken away by people of this machine, and by no page and no proxy."""

from __future__ import annotations

import json
from typing import Any

import pytest
from falcon.testing import ASGIConductor, Result
from structlog.testing import capture_logs

from inference_core.settings import Settings
from tests.gateway.fake_worker import FakeWorker
from tests.waiting import eventually, eventually_answers

PATH = "/admin/traffic/sentiment"
RULE = {"split": {"stable": 90.0, "canary": 10.0}, "labels": {"stable": "1", "canary": "2"}}
JSON = {"Content-Type": "application/json"}
BODY = b'{"prompt": "x"}'


@pytest.fixture
def worker_versions(worker: FakeWorker) -> FakeWorker:
    """Give the worker two versions of a model."""
    worker.versions = {"sentiment": ("1", "2")}
    return worker


async def put(client: ASGIConductor, rule: Any, path: str = PATH, **headers: str) -> Result:
    """Set a rule."""
    sent = {**JSON, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return await client.simulate_put(path, body=json.dumps(rule).encode(), headers=sent)


async def test_a_rule_is_set_read_and_taken_away(client: ASGIConductor, worker_versions: FakeWorker) -> None:
    """What PUT sets GET shows, with arms, shares and who changed it; after DELETE there is none."""
    assert (await client.simulate_get(PATH)).status_code == 404
    assert (await put(client, RULE, X_Reason="a new lexicon")).status_code == 200

    async def ready() -> Any:
        report = (await client.simulate_get(PATH)).json
        return report if all(arm["ready"] for arm in report["arms"]) else None

    report = await eventually_answers(ready, "both versions")
    assert report["rule"] == RULE
    assert [(arm["arm"], arm["version"], arm["share"]) for arm in report["arms"]] == [
        ("stable", "1", 0.9),
        ("canary", "2", 0.1),
    ]
    assert report["warnings"] == []
    assert [(event["who"], event["what"], event["why"]) for event in report["events"]] == [
        ("gateway-0", "changed", "a new lexicon")
    ]
    assert (await client.simulate_get("/admin/traffic")).json["rules"] == {"sentiment": RULE}
    assert (await client.simulate_delete(PATH)).status_code == 204
    assert (await client.simulate_delete(PATH)).status_code == 404
    assert (await client.simulate_get(PATH)).status_code == 404
    events = (await client.simulate_get("/admin/traffic")).json["events"]
    assert [event["what"] for event in events] == ["changed", "deleted"]


async def test_the_arm_is_told(client: ASGIConductor, worker_versions: FakeWorker) -> None:
    """An answer, also one to an error, says which arm it came from and whether it was kept."""
    await put(client, {"split": {"2": 1}, "cache": {}})
    assert (await client.simulate_get(PATH)).json["cache"] == {"entries": 0, "bytes": 0}
    for kept in ("miss", "hit"):
        answer = await client.simulate_post("/predict", body=BODY, headers={**JSON, "X-User-Key": "u"})
        assert answer.json["model_version"] == "2"
        assert (answer.headers["x-model-arm"], answer.headers["x-cache"]) == ("2", kept)
    assert (await client.simulate_get(PATH)).json["cache"]["entries"] == 1
    with capture_logs() as lines:
        answer = await client.simulate_post("/predict", body=BODY, headers={**JSON, "X-Model-Version": "9"})
        headers = {**JSON, "X-User-Key": "u", "X-Request-Id": "again"}
        again = await client.simulate_post("/predict", body=BODY, headers=headers)
        await eventually(lambda: any(line.get("request_id") == "again" for line in lines), "the last line")
    assert (answer.status_code, answer.headers["x-model-arm"]) == (404, "override")
    assert again.status_code == 200
    told = {line["request_id"]: (line.get("arm"), line.get("cache")) for line in lines if line["event"] == "request"}
    assert told[answer.headers["x-request-id"]] == ("override", None)
    assert told["again"] == ("2", "hit")


async def test_a_rule_without_workers_is_taken_with_a_warning(client: ASGIConductor) -> None:
    """A rule may come before its versions; the answer says what is missing."""
    answer = await put(client, RULE)
    assert answer.status_code == 200
    assert answer.json["warnings"] == ["No worker has a model sentiment now."]


async def test_warnings_name_what_may_be_meant(client: ASGIConductor, worker_versions: FakeWorker) -> None:
    """A misspelt model and a version that is nowhere are seen in the answer."""

    async def ready() -> bool:
        return bool((await put(client, RULE, "/admin/traffic/sentimant")).json["warnings"][0].endswith("sentiment?"))

    await eventually_answers(ready, "the worker")
    answer = await put(client, {"split": {"1": 1, "3": 1}})
    assert answer.json["warnings"] == [
        "No worker has version 3 of sentiment now, which 3 stands for; versions: 1, 2.",
    ]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000.evil.example"}, 403),
        ({"X-Forwarded-For": "127.0.0.1"}, 403),
        ({"Forwarded": "for=127.0.0.1"}, 403),
        ({"Via": "1.1 proxy"}, 403),
        ({"Origin": "http://falconframework.org"}, 200),
        ({"Content-Type": "application/json; charset=utf-8"}, 200),
    ],
)
async def test_pages_and_proxies_change_nothing(client: ASGIConductor, headers: dict[str, str], status: int) -> None:
    """What a browser sends for another site's page is refused, and so is what came through a proxy."""
    answer = await client.simulate_put(PATH, body=json.dumps(RULE).encode(), headers={**JSON, **headers})
    assert answer.status_code == status
    assert (await client.simulate_get(PATH)).status_code == (200 if status == 200 else 404)
    if status == 403:
        for call in (client.simulate_get, client.simulate_delete):
            assert (await call(PATH, headers=headers)).status_code == 403


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "unix:"])
async def test_other_machines_change_nothing(client: ASGIConductor, address: str) -> None:
    """Also where the gateway listens off loopback, the rules are this machine's own."""
    answer = await client.simulate_put(PATH, body=json.dumps(RULE).encode(), headers=JSON, remote_addr=address)
    assert answer.status_code == 403
    assert "this machine" in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (b'{"splt": {"1": 1}}', 400, "Did you mean split?"),
        (b"", 400, "not valid JSON"),
        (b"[]", 400, "object"),
        (b" " * 70_000, 413, "at most 65536 bytes"),
    ],
)
async def test_a_bad_rule_changes_nothing(client: ASGIConductor, body: bytes, status: int, reason: str) -> None:
    """The sentence says what is wrong, and the rule before it stays."""
    await put(client, RULE)
    answer = await client.simulate_put(PATH, body=body, headers=JSON)
    assert answer.status_code == status
    assert reason in answer.json["error"]
    assert (await client.simulate_get(PATH)).json["rule"] == RULE


async def test_a_models_name_is_a_name(client: ASGIConductor) -> None:
    """A rule is set for what a model may be called, and for nothing else."""
    assert (await put(client, RULE, "/admin/traffic/..%2Fx")).status_code in {400, 404}
    assert (await put(client, RULE, "/admin/traffic/%20")).status_code == 400


async def test_a_rule_survives_a_restart(client: ASGIConductor, settings: Settings) -> None:
    """It lies in the run folder, where the next process finds it."""
    await put(client, RULE)
    kept = json.loads((settings.run_folder / "traffic.json").read_text())
    assert kept["rules"] == {"sentiment": RULE}
