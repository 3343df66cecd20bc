"""The soak's verdicts."""

from __future__ import annotations

import pytest

from deploy.bench.soak import Minute, Soak, growth, judge, markdown
from tests.deploy.bench.samples import MACHINE


def soaked(*minutes: Minute, rate: float = 100.0) -> Soak:
    """Return a soak of these minutes."""
    return Soak("2026-01-01", "abc", MACHINE, "tiny", 128, 125.0, rate, minutes)


def minute(*, p99: float = 5.0, pss: float = 200.0, rate: float = 100.0, errors: int = 0) -> Minute:
    """Return one minute."""
    return Minute(rate, 1.0, p99, errors, pss, 2 * pss, {"gateway-0": pss / 2, "inference-0": pss / 2})


def test_growth_is_the_trend_of_all_minutes() -> None:
    """A steady climb counts in full, a single outlier not at all."""
    assert growth([100.0, 105.0, 110.0]) == pytest.approx(10 / 105)
    assert growth([100.0, 100.0, 900.0, 100.0, 100.0]) == 0
    assert growth([1.0]) == 0


def test_a_steady_soak_holds() -> None:
    """The first minute may be different."""
    page, holds = markdown(soaked(minute(pss=100.0), *[minute()] * 9))
    assert holds
    assert "does not hold" not in page
    assert page.count("| 0% | 200.0 (400.0) | 100.0 | 100.0 |") == 9


@pytest.mark.parametrize(
    ("minutes", "reason"),
    [
        ([minute(pss=200.0 + 2 * number) for number in range(10)], "memory"),
        ([minute(p99=5.0 + 0.5 * number) for number in range(10)], "p99"),
        ([minute(errors=1), *[minute()] * 9], "errors"),
        ([minute(rate=90.0), *[minute()] * 9], "rate"),
    ],
)
def test_what_grows_or_fails_is_told(minutes: list[Minute], reason: str) -> None:
    """Each verdict can be broken, and only by its own cause."""
    broken = [said for holds, said in judge(soaked(*minutes)) if not holds]
    assert len(broken) == 1
    assert reason in broken[0]


def test_a_short_soak_judges_no_growth() -> None:
    """Three minutes are too few for a trend, and the page says so."""
    page, holds = markdown(soaked(minute(pss=100), minute(pss=200), minute(pss=300)))
    assert holds
    assert "not judged" in page
