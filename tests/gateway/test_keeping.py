"""Failed, refused, repeated and slow requests are kept; the rest is not."""

from __future__ import annotations

import random

import pytest

from gateway.call import Call
from gateway.keeping import COUNTED_VALUES, FIRST_VALUES, Keeping, Slowest
from inference_core.deadline import Deadline
from inference_core.settings import Telemetry
from otel.requests import RequestTraces

ENDPOINT = "http://127.0.0.1:1"
NEVER = Telemetry(otlp_endpoint=ENDPOINT, slow_share=0.0)


def call(attempts: int = 1, model: str = "m") -> Call:
    """Return an answered request."""
    trace = RequestTraces(NEVER).begin("")
    return Call(Deadline.after(5), "id", trace, model=model, version="1", attempts=attempts)


@pytest.mark.parametrize(
    ("status", "seconds", "attempts", "reason"),
    [
        (200, 0.1, 1, ""),
        (200, 1.1, 1, "slow"),
        (200, 0.1, 2, "replayed"),
        (404, 0.1, 1, ""),
        (400, 9.0, 1, "slow"),
        (499, 0.1, 1, ""),
        (500, 0.1, 1, "failed"),
        (502, 2.0, 2, "failed"),
        (503, 0.1, 1, "refused"),
        (504, 5.0, 1, "failed"),
    ],
)
def test_the_end_decides(status: int, seconds: float, attempts: int, reason: str) -> None:
    """Server errors, repeats and what took longer than the threshold; a client's own mistakes are not kept."""
    assert Keeping(NEVER).reason(status, seconds, call(attempts)) == reason


def test_a_path_without_a_model_is_kept_only_for_failing() -> None:
    """A slow scrape is no slow request."""
    keeping = Keeping(NEVER)
    assert keeping.reason(200, 60.0, None) == ""
    assert keeping.reason(500, 0.1, None) == "failed"


def test_refusals_have_a_rate_and_failures_none() -> None:
    """An overload that refuses thousands keeps a few of them, and every failure."""
    keeping = Keeping(NEVER)
    refused = [keeping.reason(503, 0.1, call()) for _ in range(1000)]
    assert 5 <= refused.count("refused") <= 8
    assert all(keeping.reason(502, 0.1, call()) == "failed" for _ in range(1000))


def test_without_an_endpoint_nothing_is_kept() -> None:
    """Where spans go nowhere none is made."""
    keeping = Keeping(Telemetry(otlp_endpoint=""))
    assert {keeping.reason(status, 60.0, call(2)) for status in (200, 500, 503)} == {""}


@pytest.mark.parametrize("share", [0.01, 0.1])
@pytest.mark.parametrize("draw", ["expovariate", "lognormvariate", "paretovariate"])
def test_the_slowest_share_is_told_from_the_rest(share: float, draw: str) -> None:
    """Whatever the distribution, about that share is kept, and none of it is quicker than the median."""
    source = random.Random(7)  # noqa: S311  # a sample, no secret
    arguments = {"expovariate": (100.0,), "lognormvariate": (-5.0, 1.0), "paretovariate": (2.0,)}[draw]
    values = [getattr(source, draw)(*arguments) for _ in range(20_000)]
    slowest = Slowest(share)
    kept = [value for value in values if slowest.exceeds(value)]
    assert share / 2 < len(kept) / len(values) < 2 * share
    assert min(kept) > sorted(values)[len(values) // 2]


def test_of_very_many_requests_only_the_very_slowest_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 5000 a second, 10 a second are kept, and they are the slowest; at 100 a second the share is as it was."""
    source = random.Random(7)  # noqa: S311  # a sample, no secret
    for rate, told in ((5000, 10), (100, 1)):
        clock = iter(number / rate * COUNTED_VALUES for number in range(100_000))
        monkeypatch.setattr("gateway.keeping.now", lambda clock=clock: next(clock))
        slowest = Slowest(0.01, 10)
        values = [source.expovariate(100) for _ in range(40_000)]
        kept = [value for number, value in enumerate(values) if slowest.exceeds(value) and number > 20_000]
        assert told / 2 < len(kept) / 20_000 * rate < 2 * told
        assert min(kept) > sorted(values)[len(values) * 9 // 10]


def test_a_model_that_becomes_slow_is_kept_at_first_and_then_usual() -> None:
    """After a step in latency the first requests are kept; once that is usual, it is no longer slow."""
    slowest = Slowest(0.01)
    assert not any(slowest.exceeds(0.01) for _ in range(FIRST_VALUES))
    after = [slowest.exceeds(0.1) for _ in range(1000)]
    assert all(after[:20])
    assert sum(after) < 100


def test_each_model_has_its_own_mark() -> None:
    """A slow model beside a quick one is not slow for itself."""
    keeping = Keeping(Telemetry(otlp_endpoint=ENDPOINT))
    for _ in range(2 * FIRST_VALUES):
        keeping.reason(200, 0.001, call(model="quick"))
        keeping.reason(200, 0.5, call(model="slow"))
    assert keeping.reason(200, 0.5, call(model="slow")) == ""
    assert keeping.reason(200, 0.5, call(model="quick")) == "slow"
