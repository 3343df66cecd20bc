"""Requests on their way to a version: chosen, cached, mirrored, judged."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from structlog.testing import capture_logs

from gateway.routing import Cache, Rollback, Rule, Shadow
from gateway.traffic import HIT, MISS, Traffic
from gateway.traffic_file import TrafficFile
from inference_core import errors
from inference_core.inference import Inference
from inference_core.settings import Traffic as Settings
from inference_core.tensors import Arrays
from tests.gateway.fake_worker import FakeWorker, echo
from tests.gateway.hop import MODEL, Hop, hop, rows
from tests.waiting import eventually

SPLIT = {"stable": 90.0, "canary": 10.0}
LABELS = {"stable": "1", "canary": "2"}
OTHER = "other"


@dataclass
class Road:
    """Traffic before a hop, and a second process's view of its rules."""

    hop: Hop
    traffic: Traffic
    file: TrafficFile

    def set(self, rule: Rule | None, model: str = MODEL) -> None:
        """Set a rule as an operator does."""
        event = self.file.event(model, "changed")
        self.file.update(lambda document: document.with_rule(event, rule))
        self.traffic.poll()

    async def ask(self, value: float = 1, model: str = MODEL, **call: str) -> tuple[Inference, str, str]:
        """Ask for one row; return the answer, the arm and what the cache did."""
        made = self.hop.call(request_id=call.pop("request_id", f"r{next(self.hop.numbers)}"))
        made.key, made.wanted = call.pop("key", ""), call.pop("wanted", "")
        version = self.traffic.route(model, made)
        answer = await self.traffic.infer(model, rows(value), made, version)
        self.traffic.judge(made, 200, 0.001)
        return answer, made.arm, made.cache


@asynccontextmanager
async def road(folder: Path, *fakes: FakeWorker, poll_seconds: float = 0.02) -> AsyncIterator[Road]:
    """Open traffic to fake workers with versions 1 and 2."""
    for fake in fakes:
        fake.versions = fake.versions or {MODEL: ("1", "2"), OTHER: ("1", "2")}
    async with hop(*fakes) as one:
        traffic = Traffic(one.dispatcher, TrafficFile(folder, "gateway-0"), Settings(poll_seconds=poll_seconds), 2)
        traffic.open()
        try:
            yield Road(one, traffic, TrafficFile(folder, "operator"))
        finally:
            await traffic.close()


async def test_without_a_rule_the_worker_decides(tmp_path: Path) -> None:
    """No rule, no header: no version is named and nothing is told of an arm."""
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        answer, arm, cache = await one.ask()
        assert (answer.version, arm, cache) == ("3", "", "")


async def test_a_split_is_kept(tmp_path: Path) -> None:
    """Each request is answered by its arm's version, and the arms get their shares."""
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        one.set(Rule(split=SPLIT, labels=LABELS))
        found = await asyncio.gather(*(one.ask(request_id=f"order-{number}") for number in range(1000)))
        counts = Counter((answer.version, arm) for answer, arm, _ in found)
        assert set(counts) == {("1", "stable"), ("2", "canary")}
        assert 70 <= counts["2", "canary"] <= 132  # 99.9 % of the binomial distribution


async def test_a_user_meets_the_same_version_whatever_else_changes(tmp_path: Path) -> None:
    """The key decides, not the request; a larger share of an arm moves nobody away from it."""
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        seen: dict[str, str] = {}
        for share in (10.0, 30.0, 60.0):
            one.set(Rule(split={"stable": 100 - share, "canary": share}, labels=LABELS))
            for number in range(60):
                arms = {(await one.ask(key=f"user-{number}"))[1] for _ in range(2)}
                assert len(arms) == 1
                arm = arms.pop()
                assert (seen.get(f"user-{number}"), arm) != ("canary", "stable")
                seen[f"user-{number}"] = arm
        assert set(seen.values()) == {"stable", "canary"}


async def test_a_tester_chooses(tmp_path: Path) -> None:
    """A version, a label of the rule, a label of the worker: each choice is an arm of its own, also without a rule."""
    async with road(tmp_path, FakeWorker(answer=echo, labels={MODEL: {"newest": "2"}})) as one:
        for rule in (None, Rule(split={"1": 1.0}, labels={"canary": "2"})):
            one.set(rule)
            for wanted, version in (("1", "1"), ("2", "2"), ("newest", "2")):
                answer, arm, _ = await one.ask(wanted=wanted)
                assert (answer.version, arm) == (version, "override")
        assert (await one.ask(wanted="canary"))[0].version == "2"
        with pytest.raises(errors.UnknownModel, match="Versions here: 1, 2"):
            await one.ask(wanted="7")
        with pytest.raises(errors.InvalidInput, match="X-Model-Version"):
            await one.ask(wanted="../1")


async def test_a_version_that_nobody_has_costs_no_request(tmp_path: Path) -> None:
    """The arm's requests go to the baseline until a worker has its version."""
    fake = FakeWorker(answer=echo, versions={MODEL: ("1",)})
    async with road(tmp_path, fake) as one:
        one.set(Rule(split={"1": 1.0, "2": 1.0}))
        found = await asyncio.gather(*(one.ask() for _ in range(50)))
        assert {(answer.version, arm) for answer, arm, _ in found} == {("1", "1")}


async def test_other_processes_follow_the_file(tmp_path: Path) -> None:
    """A rule that another process set works here within half a second, and so does its end."""
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        event = one.file.event(MODEL, "changed")
        one.file.update(lambda document: document.with_rule(event, Rule(split={"2": 1.0})))
        started = time.monotonic()
        await eventually(lambda: one.traffic.plan(MODEL), "the rule", 0.5)
        assert time.monotonic() - started < 0.5
        assert (await one.ask())[0].version == "2"
        one.file.update(lambda document: document.with_rule(event, None))
        await eventually(lambda: one.traffic.plan(MODEL) is None, "the end of the rule", 0.5)


async def test_an_arm_that_fails_loses_its_traffic(tmp_path: Path) -> None:
    """The log, the metric and the file say that it did and why; nobody meets it any more, here or elsewhere."""
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        one.set(Rule(split=SPLIT, labels=LABELS, rollback=Rollback()))
        with capture_logs() as lines:
            for number in range(600):
                call = one.hop.call(request_id=f"order-{number}")
                call.model = MODEL
                one.traffic.route(MODEL, call)
                one.traffic.judge(call, 502 if call.arm == "canary" else 200, 0.01)
            await eventually(
                lambda: one.file.poll() and one.file.document.events[-1].what == "rolled back", "the event"
            )
        (line,) = [line for line in lines if line["event"] == "arm rolled back"]
        assert (line["model"], line["arm"], line["version"]) == (MODEL, "canary", "2")
        event = one.file.document.events[-1]
        assert (event.who, event.arm, event.version, event.why) == ("gateway-0", "canary", "2", line["why"])
        assert "canary failed" in event.why
        assert one.file.document.rules[MODEL].split == {"stable": 100.0, "canary": 0.0}
        found = await asyncio.gather(*(one.ask() for _ in range(100)))
        assert {arm for _, arm, _ in found} == {"stable"}
        (metric,) = one.hop.dispatcher.tally._metrics.rollbacks.collect()
        assert {sample.value for sample in metric.samples if sample.name.endswith("_total")} == {1.0}


async def test_a_rollback_that_the_file_refuses_works_here(tmp_path: Path) -> None:
    """Where the file has no room, this process sends the arm nothing all the same, and the log complains."""
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        one.set(Rule(split=SPLIT, labels=LABELS, rollback=Rollback()))
        with (
            capture_logs() as lines,
            patch("gateway.traffic_file._encoded", side_effect=errors.InputTooLarge("No room.")),
        ):
            for number in range(600):
                call = one.hop.call(request_id=f"order-{number}")
                call.model = MODEL
                one.traffic.route(MODEL, call)
                one.traffic.judge(call, 502 if call.arm == "canary" else 200, 0.01)
            await eventually(lambda: any("cannot be written" in line["event"] for line in lines), "the complaint")
        plan = one.traffic.plan(MODEL)
        assert plan is not None
        assert plan.rule.split == {"stable": 100.0, "canary": 0.0}


async def test_a_rollback_never_undoes_what_an_operator_set_meanwhile(tmp_path: Path) -> None:
    """Evidence about an old rule says nothing of a newer one."""
    async with road(tmp_path, FakeWorker(answer=echo), poll_seconds=0.5) as one:
        one.set(Rule(split=SPLIT, labels=LABELS, rollback=Rollback()))
        plan, newer = one.traffic.plan(MODEL), Rule(split={"canary": 1.0}, labels={"canary": "3"})
        assert plan is not None
        event = one.file.event(MODEL, "changed")
        one.file.update(lambda document: document.with_rule(event, newer))
        one.traffic._roll_back(MODEL, plan, "canary", "it failed")
        await asyncio.gather(*one.traffic._changes)
        one.traffic.poll()
        assert one.file.poll()
        assert one.file.document.rules == {MODEL: newer}
        changed = one.traffic.plan(MODEL)
        assert changed is not None
        assert changed.rule == newer


async def test_what_says_nothing_of_an_arm_is_no_evidence(tmp_path: Path) -> None:
    """Clients that left, their mistakes, kept answers and a tester's choice count for nobody."""
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        one.set(Rule(split=SPLIT, labels=LABELS, rollback=Rollback(), cache=Cache()))
        plan = one.traffic.plan(MODEL)
        assert plan is not None
        assert plan.evidence is not None
        mistakes = [(status, "canary", "") for status in (400, 404, 413, 499, 501)]
        for status, arm, cache in (*mistakes, (200, "canary", HIT), (502, "override", "")):
            call = one.hop.call(model=MODEL, arm=arm, cache=cache)
            one.traffic.judge(call, status, 1.0)
        assert plan.evidence.whole.failed == {}
        one.traffic.judge(one.hop.call(model=MODEL, arm="canary"), 504, 1.0)
        assert plan.evidence.whole.failed["canary"].count == 1


async def test_two_models_never_see_each_others_answers(tmp_path: Path) -> None:
    """With the same payload each gets its own model's answer, also when it was kept, and so does each version."""

    def answer(model: str, inputs: Arrays) -> Arrays:
        outputs = echo(model, inputs)
        return {**outputs, "label": np.array([model.encode()] * len(outputs["class_id"]), object)}

    async with road(tmp_path, FakeWorker(answer=answer)) as one:
        for model in (MODEL, OTHER):
            one.set(Rule(cache=Cache()), model)
        seen = []
        for _ in range(2):
            for model, wanted in ((MODEL, "1"), (OTHER, "1"), (MODEL, "2"), (OTHER, "2")):
                found, _, cache = await one.ask(5, model, wanted=wanted)
                assert found.outputs["label"].tolist() == [model.encode()]
                assert (found.model, found.version) == (model, wanted)
                seen.append(cache)
        assert seen == [MISS] * 4 + [HIT] * 4
        assert len(one.hop.fakes[0].calls) == 4


@pytest.mark.parametrize("how", ["version", "reload", "restart", "rule"])
async def test_kept_answers_are_dropped_when_the_model_may_be_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A new version, the same one loaded again, a worker that came back, a changed rule: computed again."""
    monkeypatch.setattr("gateway.slots.REFRESH_SECONDS", 0.02)
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        one.set(Rule(cache=Cache()))
        assert [(await one.ask(5))[2] for _ in range(2)] == [MISS, HIT]
        fake, slot = one.hop.fakes[0], one.hop.workers.slots[0]
        facts = slot.models[MODEL]
        if how == "version":
            fake.versions = {MODEL: ("1", "2", "3")}
        elif how == "reload":
            fake.loaded = "2"
        elif how == "restart":
            one.hop.running[0].line.cut(for_good=False)
        else:
            one.set(Rule(cache=Cache(seconds=30)))
        await eventually(lambda: how == "rule" or slot.models.get(MODEL, facts) is not facts, "the change")
        await one.hop.ready()
        assert [(await one.ask(5))[2] for _ in range(2)] == [MISS, HIT]


async def test_errors_are_not_kept(tmp_path: Path) -> None:
    """A request that failed is computed again."""
    async with road(tmp_path, FakeWorker(answer=lambda _, __: {"class_id": np.zeros(7, "<i4")})) as one:
        one.set(Rule(cache=Cache()))
        for _ in range(2):
            with pytest.raises(errors.ModelFailed):
                await one.ask(5)
        assert len(one.hop.fakes[0].calls) == 2


async def test_a_fraction_is_mirrored(tmp_path: Path) -> None:
    """The shadow's version sees that fraction of the requests, and the answers come from the arm."""
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        one.set(Rule(split={"1": 1.0}, shadow=Shadow(to="2", fraction=0.3)))
        for _ in range(200):
            assert (await one.ask())[0].version == "1"
        calls = one.hop.fakes[0].calls
        await eventually(lambda: sum(len(asked.values) for asked in calls if asked.version == "2") > 25, "the shadows")
        assert sum(len(asked.values) for asked in calls if asked.version == "2") < 100


async def test_who_asks_the_shadows_version_is_not_mirrored_to_it(tmp_path: Path) -> None:
    """There is nothing to compare."""
    async with road(tmp_path, FakeWorker(answer=echo)) as one:
        one.set(Rule(split={"2": 1.0}, shadow=Shadow(to="2", fraction=1.0)))
        await asyncio.gather(*(one.ask() for _ in range(20)))
        assert not one.traffic._shadow._waiting
