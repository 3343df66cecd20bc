"""What is counted of requests adds up, and where metrics are off nothing is."""

from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gateway.call import Call
from gateway.moments import STAGES
from gateway.tally import NoTally, Tally
from inference_core.deadline import Deadline
from otel.metrics import GatewayMetrics
from otel.requests import RequestTrace
from tests.waiting import eventually

MODEL = {"model": "m", "version": "1"}
FLUSHING = {"flush", "close"}


def call() -> Call:
    """Return a request of 20 ms that was answered: 1 before the queue, 2, 3, 4 and 5 on the way, 5 after it."""
    made = Call(Deadline.after(5), "id", RequestTrace("1" * 32, "2" * 16, "", "", ""), model="m", version="1")
    made.queued, made.hop, made.waited, made.computed = 0.002, 0.003, 0.004, 0.005
    return made


async def test_the_stages_of_a_request_are_its_whole_time() -> None:
    """The sums of all stages together are the sum of the requests' times."""
    registry = CollectorRegistry()
    tally = Tally(GatewayMetrics(registry))
    for _ in range(3):
        tally.answered(call(), 200, 0.02, 0.001)
    tally.close()
    sums = {stage: registry.get_sample_value(f"inferencehub_gateway_{stage}_seconds_sum", MODEL) for stage in STAGES}
    assert sums["receive"] == pytest.approx(0.003)
    assert sums["respond"] == pytest.approx(0.015)
    assert sum(value or 0 for value in sums.values()) == pytest.approx(0.06)
    assert registry.get_sample_value("inferencehub_gateway_request_seconds_sum", MODEL) == pytest.approx(0.06)


async def test_the_load_of_a_queue_that_is_gone_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and batches that were told of a model are told as none once there is no queue for it."""
    monkeypatch.setattr("gateway.tally.FLUSH_SECONDS", 0.01)
    registry = CollectorRegistry()
    tally = Tally(GatewayMetrics(registry))
    told = [("m", 5, 1)]
    tally.load = lambda: told

    def load() -> list[float | None]:
        names = ("queue_rows", "batches_in_flight")
        return [registry.get_sample_value(f"inferencehub_gateway_{name}", {"model": "m"}) for name in names]

    tally.sent("m", 4)
    tally.attempted("m", "ok")
    await eventually(lambda: load() == [5, 1], "the load")
    told.clear()
    await eventually(lambda: load() == [0, 0], "no load")
    tally.close()


async def test_where_metrics_are_off_nothing_is_counted() -> None:
    """No request leaves a number or a timer behind."""
    registry = CollectorRegistry()
    tally = NoTally(GatewayMetrics(registry))
    before = generate_latest(registry)
    tally.answered(call(), 200, 0.02, 0.001)
    tally.attempted("m", "ok")
    tally.sent("m", 4)
    tally.flush()
    assert (generate_latest(registry), tally._timer) == (before, None)


def test_whatever_is_counted_can_be_left_out() -> None:
    """Each way to count something has its counterpart that does not."""
    counting = {name for name, member in vars(Tally).items() if callable(member) and not name.startswith("_")}
    assert counting - FLUSHING <= vars(NoTally).keys()
