"""Which version of a model answers a request: a rule for each model, and the pure choice that follows from it.

A rule names arms. An arm is a label or a version, and its weight is its share of the requests that name neither.
Requests of one user always meet the same arm: the choice is weighted rendezvous hashing (Schindelhauer and Schomaker,
"Weighted distributed hash tables", SPAA 2005), in which each arm draws a number from the key alone and the smallest
draw, divided by its arm's weight, wins. An arm that grows therefore only takes keys, and one that shrinks only loses
them; between other arms none moves.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta

from inference_core.errors import InvalidInput
from inference_core.names import is_model_name

OVERRIDE = "override"
"""The arm of a request whose sender chose the version: no evidence for or against any other."""

MOST_ARMS = 16
MOST_LABELS = 256
LEAST_WEIGHT, MOST_WEIGHT = 1e-9, 1_000_000
DRAW_BYTES = 8
DRAWS = 2 ** (8 * DRAW_BYTES)
UNKNOWN_FIELD = re.compile(r"unknown field `([^`]{1,64})`")

Weight = Annotated[float, Meta(ge=0, le=MOST_WEIGHT)]
Share = Annotated[float, Meta(ge=0, le=1)]
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]


class Shadow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Mirror this fraction of the requests to another version, after their answers left. `to`: a label or version."""

    to: Name
    fraction: Share


class Rollback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When an arm is worse than the baseline and loses its traffic.

    `error_margin`: by how much its share of failed requests may exceed the baseline's. `latency_ratio`: how many times
    the baseline's `quantile` of latency its own may be; and it has to be more by `latency_seconds` at least. `alpha`:
    how likely it may be that an arm which is no worse is rolled back, ever, however often the evidence is looked at.
    """

    error_margin: Share = 0.02
    latency_ratio: Annotated[float, Meta(ge=1, le=1000)] = 2.0
    latency_seconds: Annotated[float, Meta(ge=0, le=60)] = 0.005
    quantile: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    alpha: Annotated[float, Meta(gt=0, le=0.2)] = 0.01


class Cache(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Keep answers for `seconds`, in at most `max_bytes` of each gateway process."""

    max_bytes: Annotated[int, Meta(ge=1024, le=2**34)] = 64 * 1024 * 1024
    seconds: Annotated[float, Meta(gt=0, le=86_400)] = 60.0


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One model's traffic. `labels` here go before those that its worker knows; the baseline is the first arm."""

    split: dict[Name, Weight] = {}
    labels: dict[Name, Name] = {}
    baseline: str = ""
    shadow: Shadow | None = None
    rollback: Rollback | None = None
    cache: Cache | None = None

    @property
    def base(self) -> str:
        """The arm that others are compared with, and that gets what they lose; "" without a split."""
        return self.baseline or next(iter(self.split), "")

    def version(self, name: str, labels: Mapping[str, str]) -> str:
        """Return the version that a label stands for, here or else in the worker's `labels`; a version is itself."""
        return self.labels.get(name) or labels.get(name, name)

    def without(self, arm: str) -> Rule:
        """Return the rule in which the baseline has that arm's weight, too, so that no other arm's keys move.

        All weights are halved where the baseline's would be beyond what a rule may have.
        """
        split = {**self.split, arm: 0.0}
        split[self.base] = self.split[self.base] + self.split[arm]
        if split[self.base] > MOST_WEIGHT:
            # The sum of two weights fits then, and a half is exact: whoever chooses by it chooses as before.
            split = {name: max(weight / 2, LEAST_WEIGHT) if weight else 0.0 for name, weight in split.items()}
        return msgspec.structs.replace(self, split=split)


def choose(rule: Rule, model: str, key: str) -> str:
    """Return the arm that a key meets; "" for a rule without a split."""
    best, least = "", math.inf
    for arm, weight in rule.split.items():
        if weight:
            draw = draw_of(model, arm, key) / weight
            if draw < least:
                best, least = arm, draw
    return best


def draw_of(model: str, arm: str, key: str) -> float:
    """Return the number that an arm draws from a key: exponentially distributed, the same for ever."""
    digest = blake2b(f"{model}\0{arm}\0{key}".encode("utf-8", "surrogateescape"), digest_size=DRAW_BYTES).digest()
    return -math.log((int.from_bytes(digest, "big") + 1) / DRAWS)


def shares(rule: Rule) -> dict[str, float]:
    """Return each arm's share of the requests, in sum 1; {} without a split."""
    total = sum(rule.split.values())
    return {arm: weight / total for arm, weight in rule.split.items()} if total else {}


def rule_from(data: bytes) -> Rule:
    """Return the rule that a JSON document describes; raises InvalidInput with what is wrong and what may be meant."""
    try:
        rule = msgspec.json.decode(data, type=Rule)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"The rule cannot be used: {error}.{_meant(str(error))}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput('The rule is not valid JSON; send {"split": {"1": 90, "2": 10}}.') from error
    check(rule)
    return rule


def check(rule: Rule) -> None:
    """Raise InvalidInput for a rule whose parts do not fit together."""
    if len(rule.labels) > MOST_LABELS:
        raise InvalidInput(f"A rule has at most {MOST_LABELS} labels; take out those that nobody asks for.")
    named = [*rule.split, *rule.labels, *rule.labels.values(), *([rule.shadow.to] if rule.shadow else [])]
    for name in named:
        if not is_model_name(name) or name == OVERRIDE:
            raise InvalidInput(
                f"Labels and versions have letters, digits, '.', '_' and '-', and none is {OVERRIDE}: {name[:64]!r}."
            )
    _check_split(rule.split)
    if rule.baseline and rule.baseline not in rule.split:
        raise InvalidInput(f"The baseline is no arm of the split.{nearest(rule.baseline, rule.split)}")
    if rule.rollback is not None and not rule.split.get(rule.base):
        raise InvalidInput("A rollback compares arms with the baseline, which therefore needs a weight in split.")


def _check_split(split: Mapping[str, float]) -> None:
    if split and not any(split.values()):
        raise InvalidInput("Every weight in split is 0, so nobody would answer; give one arm a weight.")
    if len(split) > MOST_ARMS:
        raise InvalidInput(f"A split has at most {MOST_ARMS} arms.")
    if any(0 < weight < LEAST_WEIGHT for weight in split.values()):
        # A draw divided by less may be infinite, and an infinite draw wins nothing.
        raise InvalidInput(
            f"A weight in split is 0, or between {LEAST_WEIGHT:g} and {MOST_WEIGHT}; weights are relative."
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the known name that may be meant, "" where none is near."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {found[0]}?" if found else ""


def _meant(reason: str) -> str:
    unknown = UNKNOWN_FIELD.search(reason)
    structs = (Rule, Shadow, Rollback, Cache)
    return nearest(unknown[1], [field for struct in structs for field in struct.__struct_fields__]) if unknown else ""
