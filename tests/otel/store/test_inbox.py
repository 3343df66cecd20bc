"""What waits to be written is bounded in bytes, and taken together where that saves work."""

from __future__ import annotations

import threading

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from otel.store.inbox import Arrival, Inbox

LONG = 60.0


def export(size: int) -> ExportTraceServiceRequest:
    """Return an export of about so many bytes."""
    request = ExportTraceServiceRequest()
    request.resource_spans.add(schema_url="x" * size)
    return request


class Taking(threading.Thread):
    """One `take` in a thread of its own."""

    def __init__(self, inbox: Inbox, max_bytes: int, together: float) -> None:
        super().__init__(daemon=True)
        self._asked = inbox, max_bytes, together
        self.taken: list[Arrival] = []
        self.start()

    def run(self) -> None:
        """Take."""
        inbox, max_bytes, together = self._asked
        self.taken = inbox.take(max_bytes, LONG, together)

    def end(self) -> list[Arrival]:
        """Return what was taken."""
        self.join(10)
        assert not self.is_alive()
        return self.taken


def test_what_comes_soon_is_taken_together() -> None:
    """Exports of several processes that come one after the other leave as one batch, once they are enough."""
    inbox = Inbox(100_000)
    taking = Taking(inbox, 2000, LONG)
    for _ in range(2):
        assert inbox.offer(export(1000))
        assert taking.is_alive() or len(taking.taken) == 2
    assert len(taking.end()) == 2


def test_a_small_inbox_is_emptied_before_it_is_full() -> None:
    """Where there is room for little, half of it is enough, so that nothing is refused while the rest would fit."""
    inbox = Inbox(4000)
    taking = Taking(inbox, 1_000_000, LONG)
    assert inbox.offer(export(2000))
    assert len(taking.end()) == 1


def test_who_finds_no_room_ends_the_waiting() -> None:
    """What is refused for want of room is refused once: the next one finds the inbox empty."""
    inbox = Inbox(4000)
    assert inbox.offer(export(1900))
    taking = Taking(inbox, 1_000_000, LONG)
    assert not inbox.offer(export(2500))
    assert len(taking.end()) == 1
    assert inbox.offer(export(2500))


def test_closing_ends_the_waiting() -> None:
    """A store that stops writes at once what has come."""
    inbox = Inbox(100_000)
    assert inbox.offer(export(10))
    taking = Taking(inbox, 50_000, LONG)
    inbox.close()
    assert len(taking.end()) == 1
    assert inbox.is_drained()


def test_time_ends_the_waiting() -> None:
    """A single export is taken though no other comes."""
    inbox = Inbox(100_000)
    assert inbox.offer(export(10))
    assert len(Taking(inbox, 50_000, 0.01).end()) == 1
