"""Exports are taken while there is room; what is refused is counted and told once."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from otel.metrics import StoreMetrics
from otel.store.inbox import Inbox
from otel.store.receiver import Receiver
from tests.otel.store.made import export, request

CONTEXT = None


def test_what_does_not_fit_is_refused_for_good() -> None:
    """A full inbox answers with the number of spans that were rejected, which no exporter sends again."""
    registry = CollectorRegistry()
    inbox = Inbox(1000)
    receiver = Receiver(inbox, StoreMetrics(registry))
    answers = [receiver.Export(export(*request(number)), CONTEXT) for number in (1, 2)]  # type: ignore[arg-type]  # unused
    assert [answer.partial_success.rejected_spans for answer in answers] == [0, 5]
    assert "overrun" in answers[1].partial_success.error_message
    assert registry.get_sample_value("inferencehub_tracestore_spans_dropped_total", {"reason": "overrun"}) == 5


def test_an_export_larger_than_the_inbox_is_taken_when_it_is_alone() -> None:
    """No export is too large for an empty inbox, or it could never be stored."""
    inbox = Inbox(1)
    assert inbox.offer(export(*request(1)))
    assert not inbox.offer(export())
    assert len(inbox.take(1, 0)) == 1
    assert inbox.bytes == 0


@given(st.lists(st.integers(1, 5), max_size=20), st.integers(1, 5000))
def test_what_is_offered_is_taken_in_order(numbers: list[int], bound: int) -> None:
    """Nothing is lost, doubled or reordered, and the bytes that wait are never more than the bound and one export."""
    inbox = Inbox(bound)
    exports = [export(*request(number)) for number in numbers]
    offered = [one for one in exports if inbox.offer(one)]
    taken = [arrival.request for _ in exports for arrival in inbox.take(1, 0)]
    assert taken == offered
    assert inbox.bytes == 0


@pytest.mark.parametrize("closes", [True, False])
def test_a_waiting_writer_is_woken(closes: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """An offer or the end wakes whoever waits, long before its patience ends."""
    inbox = Inbox(1000)
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.append(len(inbox.take(1, 60))))
    thread.start()
    inbox.close() if closes else inbox.offer(export())
    thread.join(10)
    assert taken == [0 if closes else 1]
    assert inbox.is_drained() is closes
