"""Whether the metrics were right after kills, from readings that are known."""

from __future__ import annotations

import msgspec
import pytest

from deploy.restarts import MOST_NEW_SERIES, Reading, Result, fallen, rows, verdict

KILLED = 'inferencehub_controller_exits_total{cause="SIGKILL",process="inference-0"}'
STOPPED = 'inferencehub_controller_exits_total{cause="stopped",process="inference-0"}'
REQUESTS = 'inferencehub_gateway_requests_total{code="200",model="tiny",version="1"}'
COUNT = 'inferencehub_gateway_request_seconds_count{model="tiny",version="1"}'
WAITING = 'inferencehub_gateway_queue_rows{model="tiny"}'


def seen(killed: float, requests: float, **more: float) -> Reading:
    """Return a reading of a small system."""
    samples = {KILLED: killed, STOPPED: 1.0, REQUESTS: requests, COUNT: requests, WAITING: 3.0, **more}
    return Reading(samples, 1000, 4, 65536)


GOOD = Result(200, 60.0, seen(2, 5), seen(202, 45), [], {"200": 40})


def test_what_goes_on_counting_is_right() -> None:
    """200 kills more are counted, and as many predictions as were answered."""
    assert verdict(GOOD) == []
    assert ("ends by SIGKILL that are counted", "2", "202") in rows(GOOD)
    assert ("series on /metrics", "5", "5") in rows(GOOD)


def test_only_counters_must_not_fall() -> None:
    """A queue may become shorter; a counter that is smaller, or gone, is told."""
    newer = Reading({KILLED: 1.0, STOPPED: 1.0, REQUESTS: 5.0, WAITING: 0.0}, 1000, 4, 65536)
    assert fallen(seen(2, 5), newer) == [KILLED, COUNT]
    assert fallen(seen(2, 5), seen(3, 6)) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"fallen": [KILLED]}, "1 counters fell, such as inferencehub_controller_exits_total"),
        ({"after": seen(201, 45)}, "199 restarts are counted, not 200"),
        ({"after": seen(202, 44)}, "requests_total grew by 39, not by 40"),
        ({"statuses": {"200": 40, "503": 2}}, "2 predictions failed"),
        ({"after": seen(202, 45, **{f"new{n}": 1.0 for n in range(MOST_NEW_SERIES + 1)})}, "there are 9 new series"),
        ({"after": msgspec.structs.replace(seen(202, 45), files=5)}, "1 files were added"),
        ({"after": msgspec.structs.replace(seen(202, 45), file_bytes=65537)}, "the files grew"),
    ],
)
def test_each_thing_that_must_not_be_is_told(changed: dict[str, object], said: str) -> None:
    """A fall, a wrong sum, a failure and growth each have their sentence."""
    assert any(sentence.startswith(said) for sentence in verdict(msgspec.structs.replace(GOOD, **changed)))
