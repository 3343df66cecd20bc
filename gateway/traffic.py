"""Every request on its way to the dispatcher: which version it asks, whether it is cached or mirrored, who is judged.

`route` names the version, once for each request; then `check`, `ask` and `infer` are the dispatcher's own.
"""

from __future__ import annotations

import asyncio
import random
from functools import partial

import msgspec
import structlog

from gateway.call import Call
from gateway.dispatch import Answering, Dispatcher, answer_of
from gateway.model_facts import ModelFacts
from gateway.response_cache import Key, ResponseCache, key_of
from gateway.rollback import Evidence
from gateway.routing import OVERRIDE, Rule, choose
from gateway.shadow import Shadow
from gateway.traffic_file import Change, Document, TrafficFile
from inference_core.admission import Verdict
from inference_core.deadline import Deadline, now
from inference_core.errors import InferenceHubError, InvalidInput
from inference_core.inference import Inference
from inference_core.names import is_model_name
from inference_core.settings import Traffic as Settings
from inference_core.tensors import Arrays

FIRST_MISTAKE, FIRST_FAILURE, NOT_OFFERED = 400, 500, 501
HIT, MISS = "hit", "miss"

log = structlog.get_logger()


class Known(msgspec.Struct, frozen=True, gc=False):
    """An answer that was there already."""

    future: asyncio.Future[Inference]

    def leave(self) -> None:
        """Nothing is under way."""


class Plan:
    """A rule at work in this process: what was seen of its arms, and the answers that are kept."""

    def __init__(self, rule: Rule, processes: int) -> None:
        self.rule = rule
        rollback = rule.rollback
        self.evidence = Evidence(rule, rollback, processes, now()) if rollback is not None else None
        self.cache = ResponseCache(rule.cache) if rule.cache is not None else None
        self.seen: list[ModelFacts | None] = []


class Traffic:
    """One process's part in the traffic between versions; usable between `open` and `close`."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        file: TrafficFile,
        settings: Settings,
        processes: int,
    ) -> None:
        self._dispatcher = dispatcher
        self._workers = dispatcher.workers
        self._tally = dispatcher.tally
        self.settings = settings
        self._processes = processes
        self._plans: dict[str, Plan] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._changes: set[asyncio.Task[None]] = set()
        self._shadow = Shadow(dispatcher, dispatcher.tally, settings.shadow_in_flight, dispatcher.is_busy)
        self.file = file
        dispatcher.workers.listen(self._workers_changed)

    def open(self) -> None:
        """Follow the file of rules; call it inside the running loop."""
        self._follow()

    async def close(self) -> None:
        """Follow no more, give up what is mirrored, let running requests end."""
        if self._timer is not None:
            self._timer.cancel()
        await self._shadow.close()
        await asyncio.gather(*self._changes)
        await self._dispatcher.close()

    # A request's way

    def route(self, model: str, call: Call, version: str = "") -> str:
        """Return the version that a request asks, "" for the worker's default, and note its arm on the call.

        A `version` that the path of the request has, or its header, may be a label and goes before the rule.
        Raises InvalidInput for one that no version can be called.
        """
        plan, wanted = self._plans.get(model), version or call.wanted
        if wanted:
            return self._named(model, plan, wanted, call, is_override=not version)
        return "" if plan is None else self._chosen(model, plan.rule, call)

    def knows(self, model: str, version: str = "") -> bool:
        """As the dispatcher's."""
        return self._dispatcher.knows(model, version)

    def check(self, model: str, call: Call, version: str = "") -> None:
        """As the dispatcher's."""
        self._dispatcher.check(model, call, version)

    @property
    def is_refusing(self) -> bool:
        """As the dispatcher's."""
        return self._dispatcher.is_refusing

    def verdict(self, model: str, deadline: Deadline, *, background: bool) -> Verdict | None:
        """As the dispatcher's; None also for a model that has a rule, whose requests must be routed first."""
        return None if model in self._plans else self._dispatcher.verdict(model, deadline, background=background)

    def ask(self, model: str, inputs: Arrays, call: Call, version: str = "") -> Answering:
        """As the dispatcher's, for a version that `route` named; the answer may be one that was kept."""
        plan = self._plans.get(model)
        if plan is None:
            return self._dispatcher.ask(model, inputs, call, version)
        return self._planned(model, plan, inputs, call, version)

    async def infer(self, model: str, inputs: Arrays, call: Call, version: str = "") -> Inference:
        """As the dispatcher's, for a version that `route` named."""
        await self._dispatcher.prepare(model, version, call.deadline)
        return await answer_of(self.ask(model, inputs, call, version))

    def judge(self, call: Call, status: int, seconds: float) -> None:
        """Note how a request of an arm ended. Kept answers, clients that left and their mistakes say nothing of it.

        A client whose key is sticky makes all its mistakes with the same arm, which would lose its traffic for them.
        """
        plan = self._plans.get(call.model)
        if plan is None or plan.evidence is None or _is_mistake(status) or call.cache == HIT:
            return
        if call.arm in plan.rule.split:
            plan.evidence.note(call.arm, seconds, now(), failed=status >= FIRST_FAILURE)

    def labels(self, model: str) -> dict[str, str]:
        """Return the labels of a model's versions, as its worker has them."""
        facts = self._workers.facts(model)
        return {} if facts is None else dict(facts.labels)

    def plan(self, model: str) -> Plan | None:
        """Return a model's rule at work, None where it has none."""
        return self._plans.get(model)

    def _named(self, model: str, plan: Plan | None, wanted: str, call: Call, *, is_override: bool) -> str:
        if not is_model_name(wanted):
            raise InvalidInput(f"{self.settings.version_header} is a version or a label, such as 2 or canary.")
        if is_override:
            call.arm = OVERRIDE
        return (Rule() if plan is None else plan.rule).version(wanted, self.labels(model))

    def _chosen(self, model: str, rule: Rule, call: Call) -> str:
        arm = choose(rule, model, call.key or call.request_id)
        if not arm:
            return ""
        labels = self.labels(model) if arm not in rule.labels else {}
        version = rule.version(arm, labels)
        if arm != rule.base and not self._workers.is_ready(model, version) and self._workers.any_ready():
            arm = rule.base  # whose requests would only fail, as long as nobody has their version
            version = rule.version(arm, self.labels(model))
        call.arm = arm
        return version

    def _planned(self, model: str, plan: Plan, inputs: Arrays, call: Call, version: str) -> Answering:
        cache, shadow = plan.cache, plan.rule.shadow
        key = None if cache is None else key_of(version, inputs)
        if cache is not None and key is not None and (kept := cache.get(key)) is not None:
            return self._kept(kept, call)
        asked = self._dispatcher.ask(model, inputs, call, version)
        if cache is not None and key is not None:
            call.cache = MISS
            asked.future.add_done_callback(partial(_keep, cache, key, cache.epoch))
        if shadow is not None and random.random() < shadow.fraction:  # noqa: S311  # a sample, no secret
            other = plan.rule.version(shadow.to, self.labels(model))
            if other != version:
                asked.future.add_done_callback(partial(self._shadow.mirror, inputs, other, call))
        return asked

    def _kept(self, inference: Inference, call: Call) -> Known:
        call.model, call.version, call.cache = inference.model, inference.version, HIT
        future: asyncio.Future[Inference] = asyncio.get_running_loop().create_future()
        future.set_result(inference)
        return Known(future)

    # The rules

    def _follow(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self.settings.poll_seconds, self._follow)
        self.poll()
        for model, plan in list(self._plans.items()):
            found = plan.evidence and next(plan.evidence.verdicts(), None)
            if found:
                self._roll_back(model, plan, *found)

    def poll(self) -> None:
        """Take over what the file says now."""
        if not self.file.poll():
            return
        rules = self.file.document.rules
        for model in self._plans.keys() - rules.keys():
            del self._plans[model]
        for model, rule in rules.items():
            if model not in self._plans or self._plans[model].rule != rule:
                self._plans[model] = Plan(rule, self._processes)
        log.info("traffic rules", rules={model: dict(rule.split) for model, rule in rules.items()})
        self._workers_changed()

    def _roll_back(self, model: str, plan: Plan, arm: str, why: str) -> None:
        # At once in this process; the others follow the file.
        changed = plan.rule.without(arm)
        self._plans[model] = Plan(changed, self._processes)
        version = plan.rule.version(arm, self.labels(model))
        log.error("arm rolled back", model=model, arm=arm, version=version, why=why)
        self._tally.rolled_back(model, arm)
        event = self.file.event(model, "rolled back", arm=arm, version=version, why=why)

        def change(document: Document) -> Document | None:
            # Meanwhile an operator or another process may have changed it, and that is then a new beginning.
            return document.with_rule(event, changed) if document.rules.get(model) == plan.rule else None

        task = asyncio.get_running_loop().create_task(self._write(change))
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def _write(self, change: Change) -> None:
        try:
            await asyncio.to_thread(self.file.update, change)
        except (OSError, ValueError, InferenceHubError):
            log.exception("traffic rules cannot be written; the other gateway processes know nothing of this change")

    def _workers_changed(self) -> None:
        for model, plan in self._plans.items():
            if plan.cache is not None:
                seen = [slot.models.get(model) for slot in self._workers.slots]
                # The very same facts, not equal ones: a worker that came back may have loaded other weights.
                if len(seen) != len(plan.seen) or any(a is not b for a, b in zip(seen, plan.seen, strict=True)):
                    plan.cache.clear()
                    plan.seen = seen


def _is_mistake(status: int) -> bool:
    return FIRST_MISTAKE <= status < FIRST_FAILURE or status == NOT_OFFERED


def _keep(cache: ResponseCache, key: Key, epoch: int, answered: asyncio.Future[Inference]) -> None:
    if not answered.cancelled() and answered.exception() is None:
        cache.put(key, answered.result(), epoch)
