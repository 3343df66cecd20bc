"""/admin/traffic: the rule of each model, read and changed at run time by somebody on this machine.

No password is asked, so nobody else may get in: callers come from loopback, through no proxy, and not from a page of
another origin. A change needs `Content-Type: application/json` or DELETE, which no browser sends to another origin
without asking first, and is not allowed then; Host is checked before anything gets here.
"""

from __future__ import annotations

import asyncio
import ipaddress
from urllib.parse import urlsplit

import falcon
import msgspec
from falcon.asgi import Request, Response

from gateway.body import JSON
from gateway.routing import Rule, nearest, rule_from, shares
from gateway.traffic import Plan, Traffic
from gateway.traffic_file import Change, Document, Event
from gateway.workers import Workers
from inference_core.errors import InputTooLarge, InvalidInput, UnsupportedInput
from inference_core.names import is_model_name

LARGEST_BYTES = 64 * 1024
LONGEST_REASON = 200
SHOWN_EVENTS = 20
PROXIED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-Ip", "Via")
WHY = "X-Reason"


class TrafficRules(msgspec.Struct):
    """The rule of each model that has one, and the newest changes, the last one last."""

    rules: dict[str, Rule]
    events: list[Event]


class SeenHere(msgspec.Struct):
    """What the gateway process that answers saw of an arm since its rule began."""

    requests: int
    failed: int


class ArmReport(msgspec.Struct):
    """An arm: the version behind it, its share of the requests, and whether a worker has that version now."""

    arm: str
    version: str
    share: float
    ready: bool
    seen_here: SeenHere | None


class KeptAnswers(msgspec.Struct):
    """How many answers the gateway process that answers keeps, and their size."""

    entries: int
    bytes: int


class TrafficReport(msgspec.Struct):
    """A model's rule with all its defaults, how its arms do, what is missing, and how it came to be so."""

    model: str
    rule: Rule
    arms: list[ArmReport]
    cache: KeptAnswers | None
    warnings: list[str]
    events: list[Event]


class AllTrafficResource:
    """The rules of all models."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    async def on_get(self, request: Request, response: Response) -> None:
        """Answer with every rule and the newest changes."""
        check_caller(request)
        self._traffic.poll()
        document = self._traffic.file.document
        _answer(response, TrafficRules(document.rules, document.events[-SHOWN_EVENTS:]))


class TrafficResource:
    """One model's rule."""

    def __init__(self, traffic: Traffic, workers: Workers) -> None:
        self._traffic = traffic
        self._workers = workers

    async def on_get(self, request: Request, response: Response, model: str) -> None:
        """Answer with the rule, how its arms do, and how it came to be so; 404 where there is none."""
        check_caller(request)
        self._traffic.poll()
        plan = self._traffic.plan(model)
        if plan is None:
            raise falcon.HTTPNotFound(description=self._no_rule(model))
        _answer(response, self._report(model, plan))

    async def on_put(self, request: Request, response: Response, model: str) -> None:
        """Set the rule; all gateway processes follow it within half a second. Raises InvalidInput."""
        check_caller(request)
        if not is_model_name(model):
            raise InvalidInput("A model's name has letters, digits, '.', '_' and '-', at most 128 in all.")
        rule = rule_from(await _json(request))
        event = self._traffic.file.event(model, "changed", why=_why(request))
        await self._change(lambda document: document.with_rule(event, rule))
        # Somebody else may have taken it away again by now.
        _answer(response, self._report(model, self._traffic.plan(model) or Plan(rule, 1)))

    async def on_delete(self, request: Request, response: Response, model: str) -> None:
        """Take the rule away, so that the worker's default version answers all; 404 where there is none."""
        check_caller(request)
        event = self._traffic.file.event(model, "deleted", why=_why(request))

        def change(document: Document) -> Document | None:
            return document.with_rule(event, None) if model in document.rules else None

        if not await self._change(change):
            raise falcon.HTTPNotFound(description=self._no_rule(model))
        response.status = falcon.HTTP_204

    async def _change(self, change: Change) -> bool:
        changed = await asyncio.to_thread(self._traffic.file.update, change)
        self._traffic.poll()
        if changed is not None:
            await asyncio.sleep(self._traffic.settings.poll_seconds)  # until the other processes have looked
        return changed is not None

    def _no_rule(self, model: str) -> str:
        return f"No traffic rule is set for that model.{nearest(model, self._traffic.file.document.rules)}"

    def _report(self, model: str, plan: Plan) -> TrafficReport:
        rule, events = plan.rule, self._traffic.file.document.events
        return TrafficReport(
            model,
            rule,
            [self._arm(model, plan, arm, share) for arm, share in shares(rule).items()],
            None if plan.cache is None else KeptAnswers(len(plan.cache), plan.cache.bytes),
            self._warnings(model, rule),
            [event for event in events if event.model == model][-SHOWN_EVENTS:],
        )

    def _arm(self, model: str, plan: Plan, arm: str, share: float) -> ArmReport:
        version = plan.rule.version(arm, self._traffic.labels(model))
        seen = None if plan.evidence is None else plan.evidence.whole.failed.get(arm)
        return ArmReport(
            arm,
            version,
            round(share, 6),
            self._workers.is_ready(model, version),
            None if seen is None else SeenHere(seen.total, seen.count),
        )

    def _warnings(self, model: str, rule: Rule) -> list[str]:
        versions = self._workers.versions(model)
        if not versions:
            return [f"No worker has a model {model} now.{nearest(model, self._workers.models())}"]
        named = dict.fromkeys([*rule.split, *([rule.shadow.to] if rule.shadow else [])])
        wanted = {name: rule.version(name, self._traffic.labels(model)) for name in named}
        return [
            f"No worker has version {version} of {model} now, which {name} stands for; versions: {', '.join(versions)}."
            for name, version in wanted.items()
            if version not in versions
        ]


def check_caller(request: Request) -> None:
    """Raise 403 for whoever is not on this machine, or whose browser sends what another site's page told it to."""
    if not _is_loopback(request.remote_addr) or any(request.get_header(name) is not None for name in PROXIED):
        raise falcon.HTTPForbidden(title="Traffic rules are read and changed from this machine alone, without a proxy")
    origin = request.get_header("Origin")
    if origin is not None and urlsplit(origin).netloc != request.get_header("Host"):
        raise falcon.HTTPForbidden(title="Traffic rules are not changed by pages of another origin")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


async def _json(request: Request) -> bytes:
    if (request.content_type or "").partition(";")[0].strip().lower() != JSON:
        raise UnsupportedInput(f"Send the rule as JSON, with the header Content-Type: {JSON}.")
    data: bytes = await request.stream.read(LARGEST_BYTES + 1)
    if len(data) > LARGEST_BYTES:
        raise InputTooLarge(f"A rule has at most {LARGEST_BYTES} bytes.")
    return data


def _why(request: Request) -> str:
    return (request.get_header(WHY) or "")[:LONGEST_REASON]


def _answer(response: Response, report: TrafficReport | TrafficRules) -> None:
    response.content_type = falcon.MEDIA_JSON
    response.data = msgspec.json.format(msgspec.json.encode(report))
