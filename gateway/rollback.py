"""Whether an arm is worse than its baseline, asked as often as one likes.

Evidence is looked at several times a second for as long as a rule lasts, so an ordinary test would in the end find a
difference where there is none. Here each share (of failed requests, of slow ones) has a confidence sequence, an
interval that holds at all times at once with probability 1 - alpha: all p for which the beta-binomial mixture of the
likelihood ratio stays below 1 / alpha. Under p that mixture is a martingale, so by Ville's inequality it ever exceeds
1 / alpha with probability alpha at most. Sources: Robbins, "Statistical methods related to the law of the iterated
logarithm", Ann. Math. Stat. 1970; Johari, Pekelis, Walsh, "Always valid inference: continuous monitoring of A/B tests",
Operations Research 2022 (the mixture SPRT); Howard, Ramdas, McAuliffe, Sekhon, "Time-uniform, nonparametric,
nonasymptotic confidence sequences", Annals of Statistics 2021.

An arm that was well for a day must not need a day to be found broken. So the evidence is kept twice: since the rule
began, and in windows, of which the k-th may spend alpha / (k (k + 1)), in sum alpha however many there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.routing import Rollback, Rule

WINDOW_SECONDS = 60.0
CALIBRATION = 50
"""Answers of the baseline from which a window learns what is slow, before it counts."""

PRIOR = 0.5
"""Both parameters of the mixing beta distribution; a half is Jeffreys' choice, near its best where p is near 0 or 1."""

HALVINGS = 40
INTERVALS = 8
"""That have to hold: of failures and slowness, in an arm and its baseline, since the beginning and in a window."""


@dataclass(slots=True)
class Seen:
    """How many there were, and how many of them had what is counted."""

    total: int = 0
    count: int = 0

    @property
    def share(self) -> float:
        """The share of those that had it; 0 where there were none."""
        return self.count / self.total if self.total else 0.0

    def note(self, *, counts: bool) -> None:
        """Note one more."""
        self.total += 1
        self.count += counts

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the bounds within which the share has always been with probability 1 - alpha."""
        return _bound(self.count, self.total, alpha), 1 - _bound(self.total - self.count, self.total, alpha)


@dataclass(slots=True)
class Window:
    """What was seen of each arm in one stretch of time. `slow_from`: seconds, 0 until the baseline has told."""

    began: float
    alpha: float
    failed: dict[str, Seen] = field(default_factory=dict)
    slow: dict[str, Seen] = field(default_factory=dict)
    calibration: list[float] = field(default_factory=list)
    slow_from: float = 0.0

    def note(self, arm: str, seconds: float, rule: Rollback, *, failed: bool, is_base: bool) -> None:
        """Note a request; only of answers the time counts."""
        self.failed.setdefault(arm, Seen()).note(counts=failed)
        if failed:
            return
        if self.slow_from:
            self.slow.setdefault(arm, Seen()).note(counts=seconds > self.slow_from)
        elif is_base:
            self.calibration.append(seconds)
            if len(self.calibration) == CALIBRATION:
                self.slow_from = _slow_from(self.calibration, rule)

    def verdict(self, arm: str, base: str, rule: Rollback) -> str:
        """Return why an arm is worse than the baseline, "" where that is not sure."""
        return self._fails(arm, base, rule) or self._is_slow(arm, base, rule)

    def _fails(self, arm: str, base: str, rule: Rollback) -> str:
        ours, theirs = self.failed.get(arm, Seen()), self.failed.get(base, Seen())
        if ours.share <= theirs.share + rule.error_margin:
            return ""  # most of the time, and much cheaper than the intervals
        least, most = ours.interval(self.alpha)[0], theirs.interval(self.alpha)[1]
        if least <= most + rule.error_margin:
            return ""
        return (
            f"{arm} failed {ours.count} of {ours.total} requests, which means at least {least:.1%} of all, and {base} "
            f"{theirs.count} of {theirs.total}, at most {most:.1%}: more than {rule.error_margin:.1%} apart"
        )

    def _is_slow(self, arm: str, base: str, rule: Rollback) -> str:
        ours, theirs = self.slow.get(arm, Seen()), self.slow.get(base, Seen())
        if ours.share <= max(1 - rule.quantile, theirs.share):
            return ""  # as above
        least, most = ours.interval(self.alpha)[0], theirs.interval(self.alpha)[1]
        if least <= max(1 - rule.quantile, most):
            return ""
        return (
            f"{arm} took longer than {self.slow_from * 1000:.1f} ms for {ours.count} of {ours.total} answers, "
            f"which means at least {least:.1%} of all, and {base} for {theirs.count} of {theirs.total}, "
            f"at most {most:.1%}: its {rule.quantile:.0%} quantile is over {rule.latency_ratio:g} times that of {base}"
        )


class Evidence:
    """What one gateway process saw of a rule's arms. `processes`: how many watch the same arms and may be wrong."""

    def __init__(self, rule: Rule, rollback: Rollback, processes: int, time: float) -> None:
        self._rule, self._rollback = rule, rollback
        self._alpha = rollback.alpha / (processes * INTERVALS)
        self._windows = 1
        self.whole = Window(time, self._alpha)
        self.recent = self._window(time)

    def note(self, arm: str, seconds: float, time: float, *, failed: bool) -> None:
        """Note a request that ended now: whether it failed, and else how long it took."""
        if time - self.recent.began >= WINDOW_SECONDS:
            self._windows += 1
            self.recent = self._window(time)
        for window in (self.whole, self.recent):
            window.note(arm, seconds, self._rollback, failed=failed, is_base=arm == self._rule.base)

    def verdicts(self) -> Iterator[tuple[str, str]]:
        """Return the arms that are worse than the baseline, each with the reason."""
        for arm, weight in self._rule.split.items():
            if weight and arm != self._rule.base:
                why = (self.recent.verdict(arm, self._rule.base, self._rollback)
                       or self.whole.verdict(arm, self._rule.base, self._rollback))  # fmt: skip
                if why:
                    yield arm, why

    def _window(self, time: float) -> Window:
        return Window(time, self._alpha / (self._windows * (self._windows + 1)))


def _slow_from(calibration: list[float], rule: Rollback) -> float:
    usual = sorted(calibration)[int(len(calibration) * rule.quantile)]
    return max(usual * rule.latency_ratio, usual + rule.latency_seconds)


def _bound(count: int, total: int, alpha: float) -> float:
    """Return the lower bound: the p at which the mixture reaches 1 / alpha, by bisection."""
    if not count:
        return 0.0
    rest = total - count
    mixture = _log_beta(PRIOR + count, PRIOR + rest) - _log_beta(PRIOR, PRIOR)
    low, high = 0.0, count / total
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        logarithm = mixture - count * math.log(middle) - (rest * math.log1p(-middle) if rest else 0.0)
        low, high = (middle, high) if logarithm > -math.log(alpha) else (low, middle)
    return low


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
