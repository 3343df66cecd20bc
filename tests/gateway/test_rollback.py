"""An arm that is worse is found soon, and one that is not is left alone, however often anybody looks."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import pytest

from gateway import rollback
from gateway.rollback import CALIBRATION, WINDOW_SECONDS, Evidence, Seen
from gateway.routing import Rollback, Rule

RULE = Rule(split={"stable": 90, "canary": 10})
PER_SECOND = 100


def evidence(processes: int = 1, **rollback: float) -> Evidence:
    """Return no evidence yet."""
    return Evidence(RULE, Rollback(**rollback), processes, 0.0)


def seeded(seed: int) -> Random:
    """Return chance that is the same in every run."""
    return Random(seed)  # noqa: S311  # a simulation, no secret


@dataclass
class World:
    """How often requests of each arm fail, how long they take on the average, and the chance that decides."""

    rates: dict[str, float]
    latencies: dict[str, float]
    chance: Random

    def seconds_until_verdict(self, found: Evidence, requests: int, first: int = 0) -> tuple[float, str]:
        """Send requests, look after every 20, and return when a verdict came and which, or infinity."""
        chance = self.chance
        for number in range(first, first + requests):
            arm = "canary" if chance.random() < 0.1 else "stable"
            failed = chance.random() < self.rates[arm]
            found.note(arm, chance.expovariate(1 / self.latencies[arm]), number / PER_SECOND, failed=failed)
            if number % 20 == 0:
                for worse, why in found.verdicts():
                    assert worse == "canary"
                    return (number - first) / PER_SECOND, why
        return math.inf, ""


def alike(value: float) -> dict[str, float]:
    """Return the same for both arms."""
    return dict.fromkeys(RULE.split, value)


def test_a_share_stays_in_its_interval_at_all_times() -> None:
    """Of 400 series that are looked at after each of 300 requests at most alpha ever leave their interval.

    The interval of an ordinary test, which is wide enough for one look, is left by many more: that is the control.
    """
    alpha, chance = 0.1, seeded(1)
    left = left_by_chance = 0
    for _ in range(400):
        share, seen, is_out, is_out_for_one_look = chance.choice([0.02, 0.2, 0.5]), Seen(), False, False
        for number in range(1, 301):
            seen.note(counts=chance.random() < share)
            if number % 5 == 0:
                low, high = seen.interval(alpha)
                is_out = is_out or not low <= share <= high
                width = 1.645 * math.sqrt(share * (1 - share) / number)
                is_out_for_one_look = is_out_for_one_look or abs(seen.share - share) > width
        left += is_out
        left_by_chance += is_out_for_one_look
    assert left <= alpha * 400
    assert left_by_chance > 2 * alpha * 400


@pytest.mark.parametrize("kind", ["steady", "outage"])
def test_an_arm_that_is_no_worse_keeps_its_traffic(kind: str) -> None:
    """Under the null, with a margin of nothing at all, at most alpha of 40 rules ever lose an arm in 16 windows."""
    alpha, alarms = 0.1, 0
    for seed in range(40):
        chance = seeded(seed)
        found = evidence(alpha=alpha, error_margin=0.0, latency_ratio=1.0, latency_seconds=0.0)
        for part in range(16):
            rate = 0.6 if kind == "outage" and part in {3, 4} else 0.05
            world = World(alike(rate), alike(0.1 * (1 + part % 3)), chance)
            when, _ = world.seconds_until_verdict(found, 400, part * round(WINDOW_SECONDS * PER_SECOND))
            if when < math.inf:
                alarms += 1
                break
    assert alarms <= alpha * 40


@pytest.mark.parametrize("seed", range(5))
def test_a_broken_arm_is_found_within_seconds(seed: int) -> None:
    """At 100 requests a second and 10 % for the arm, one that only fails loses its traffic within two seconds."""
    world = World({"stable": 0.001, "canary": 1.0}, alike(0.01), seeded(seed))
    when, why = world.seconds_until_verdict(evidence(processes=2), 1000)
    assert when < 2.0
    assert why.startswith("canary failed")


def test_an_arm_that_breaks_after_an_hour_is_found_as_soon() -> None:
    """What was well for long needs no long time to be found broken: a window knows nothing of before."""
    found = evidence()
    found.whole.failed = {"stable": Seen(324_000, 300), "canary": Seen(36_000, 30)}
    found._windows = 60
    world = World({"stable": 0.001, "canary": 0.5}, alike(0.01), seeded(3))
    when, why = world.seconds_until_verdict(found, 2000, 3600 * PER_SECOND)
    assert when < 5.0
    assert "canary failed" in why


@pytest.mark.parametrize("seed", range(3))
def test_a_slow_arm_is_found(seed: int) -> None:
    """Five times as slow loses its traffic, 1.3 times as slow keeps it where twice is allowed."""
    slow = World(alike(0.001), {"stable": 0.1, "canary": 0.5}, seeded(seed))
    when, why = slow.seconds_until_verdict(evidence(), 6000)
    assert when < 20.0
    assert why.startswith("canary took longer than")
    little = World(alike(0.001), {"stable": 0.1, "canary": 0.13}, seeded(seed))
    assert little.seconds_until_verdict(evidence(), 6000)[0] == math.inf


def test_a_difference_of_nothing_much_is_none() -> None:
    """What is less than `latency_seconds` apart is not slow, and a margin is a margin."""
    found = evidence(error_margin=0.5)
    for number in range(4 * CALIBRATION):
        found.note("stable", 0.0001, number / 1000, failed=False)
        found.note("canary", 0.002, number / 1000, failed=number % 3 == 0)
    assert list(found.verdicts()) == []
    assert found.whole.slow_from == pytest.approx(0.0051)


def test_the_windows_together_spend_no_more_than_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many windows follow each other, their error probabilities add up to less than the rule's."""
    monkeypatch.setattr(rollback, "WINDOW_SECONDS", 1.0)
    found, spent = evidence(alpha=0.1), [0.0]
    spent[0] = found.recent.alpha
    for second in range(1, 1000):
        found.note("stable", 0.1, float(second), failed=False)
        spent.append(found.recent.alpha)
    assert len(set(spent)) == 1000
    assert 0.99 * found.whole.alpha < sum(spent) < found.whole.alpha
