"""Who may wait, and what happens to a queue that stands."""

from __future__ import annotations

import pytest

from inference_core.admission import Admission, Limits, NoAdmission
from inference_core.deadline import Deadline, now
from inference_core.errors import Overloaded
from inference_core.lanes import Lanes
from tests.inference_core.request import Request


def admission(max_rows: int = 100, max_bytes: int = 1 << 20, target: float = 0.01, *, sheds: bool = False) -> Admission:
    """Return an admission with these limits."""
    return Admission(Limits(max_rows, max_bytes, target, sheds))


def reason(admitting: Admission, request: Request) -> str:
    """Return why a request is refused, "" if it is not."""
    try:
        admitting.admit(request, now())
    except Overloaded as refused:
        return refused.reason
    return ""


def drain(admitting: Admission, rows: int, seconds: float, times: int = 5) -> None:
    """Let batches of so many rows end, one each `seconds`, while others wait."""
    began = now() - times * seconds
    for number in range(times):
        admitting.drained(rows, seconds, began + number * seconds, leaves_others=True)


def stand(admitting: Admission, *, background: bool = False) -> Lanes[Request]:
    """Make one class's queue a standing one, and return it."""
    lanes: Lanes[Request] = Lanes(1)
    lanes.append(Request(background=background, queued_at=1.0))
    for time in (2.0, 3.0, 4.0):
        admitting.shed(lanes, time)
    return lanes


def test_rows_and_bytes_are_counted_in_and_out() -> None:
    """What was admitted or put back and has left leaves nothing behind."""
    admitting = admission()
    requests = [Request(3, 100), Request(2, 50, background=True)]
    admitting.admit(requests[0], now())
    admitting.put_back(requests[1])
    assert (admitting.rows, admitting.bytes) == (5, 150)
    admitting.left(requests)
    assert (admitting.rows, admitting.bytes) == (0, 0)


def test_a_full_queue_refuses_by_rows_and_by_bytes() -> None:
    """Up to the limit all come in, beyond it none, and a refusal counts nothing."""
    admitting = admission(max_rows=10, max_bytes=1000)
    admitting.admit(Request(9, 900), now())
    assert [reason(admitting, Request(2, 1)), reason(admitting, Request(1, 101))] == ["full", "full"]
    assert reason(admitting, Request(1, 100)) == ""
    assert (admitting.rows, admitting.bytes) == (10, 1000)


def test_one_may_always_wait() -> None:
    """A request above every limit is admitted into an empty queue: else it could never be answered."""
    assert reason(admission(max_rows=1, max_bytes=1), Request(50, 5000)) == ""


def test_background_leaves_room_for_others() -> None:
    """The lower class may fill half of the queue, and others the rest."""
    admitting = admission(max_rows=10)
    assert [reason(admitting, Request(background=True)) for _ in range(6)] == ["", "", "", "", "", "full"]
    assert [reason(admitting, Request()) for _ in range(6)] == ["", "", "", "", "", "full"]


def test_a_wait_beyond_the_deadline_is_refused_with_its_length() -> None:
    """At ten rows a second who comes after 19 waits 1.9 seconds; half of the deadline has to be more than that."""
    admitting = admission()
    admitting.admit(Request(19), now())
    drain(admitting, rows=1, seconds=0.1)
    with pytest.raises(Overloaded) as refused:
        admitting.admit(Request(deadline=Deadline.after(3.9)), now())
    assert (refused.value.reason, refused.value.retry_after_seconds) == ("deadline", 2)
    assert refused.value.wait_seconds == pytest.approx(1.9)
    assert reason(admitting, Request(deadline=Deadline.after(4.5))) == ""


def test_interactive_requests_do_not_wait_for_the_background() -> None:
    """What gives way is not counted into the wait of those it gives way to."""
    admitting = admission()
    admitting.admit(Request(40, background=True), now())
    drain(admitting, rows=1, seconds=0.1)
    assert reason(admitting, Request(deadline=Deadline.after(1.0))) == ""
    assert reason(admitting, Request(background=True, deadline=Deadline.after(1.0))) == "deadline"


def test_a_standing_queue_takes_only_what_it_can_answer_soon() -> None:
    """While the queue stands a newcomer may wait for the target at most, and soon after the last refusal as before."""
    admitting = admission(target=0.05)
    waiting = [Request(20), Request()]
    for request in waiting:
        admitting.admit(request, now())
    drain(admitting, rows=1, seconds=0.01)
    stand(admitting)
    assert reason(admitting, Request()) == "standing"
    admitting.left(waiting)
    lanes: Lanes[Request] = Lanes(1)
    lanes.append(Request(queued_at=5.0))
    for time in (5.0, 5.001):
        admitting.shed(lanes, time)
    assert [reason(admitting, Request(rows)) for rows in (20, 1)] == ["", ""]


@pytest.mark.parametrize("load", [1.5, 10.0])
def test_under_a_lasting_overload_the_delay_stays_at_the_target(load: float) -> None:
    """The queue neither runs empty nor fills up again each time that its delay is good."""
    admitting, lanes = admission(max_rows=100_000, target=0.25), Lanes[Request](8)
    began, due, delays = now(), 0.0, []
    for batch in range(1, 400):  # of 8 rows, one each 20 ms
        time = began + batch * 0.02
        while due < batch * 8 * load:
            due += 1
            request = Request(deadline=Deadline(time + 2.0), queued_at=time)
            if admitting.verdict(2.0, time, background=False) is None:
                admitting.admit(request, time)
                lanes.append(request)
        admitting.shed(lanes, time)
        delays.append(time - (lanes.oldest(background=False) or time))
        taken, _ = lanes.take(time, newest_first=False)
        admitting.left(taken)
        admitting.drained(len(taken), 0.02, time, leaves_others=bool(lanes))
    settled = delays[200:]
    assert 0.15 < min(settled) <= max(settled) < 0.35


def test_bursts_after_an_overload_are_let_in() -> None:
    """Two seconds of overload, then bursts of half of what can be answered: none is refused for what was before."""
    refused = after_an_overload(bursts=[160, *[0] * 24] * 20)
    assert refused[50:] == [0] * (len(refused) - 50)


def test_hasty_requests_hold_no_queue_up() -> None:
    """Requests that no queue could answer in time are refused, and nobody else for their sake."""
    admitting, time = admission(max_rows=10_000, target=0.25), now()
    drain(admitting, rows=8, seconds=0.02)
    stand(admitting)
    admitting.admit(Request(40), time)
    assert [admitting.verdict(0.05, time, background=False) is None for _ in range(50)] == [False] * 50
    lanes: Lanes[Request] = Lanes(8)
    lanes.append(Request(queued_at=time))
    admitting.shed(lanes, time + 0.001)
    assert admitting.verdict(5.0, time, background=False) is None
    assert not admitting._accounts[0].standing.stands


def after_an_overload(bursts: list[int]) -> list[int]:
    """Return how many rows are refused of each arrival, one each 40 ms, after 50 that are five times too many.

    16 rows are answered each 40 ms.
    """
    admitting, lanes, began = admission(max_rows=100_000, target=0.25), Lanes[Request](16), now()
    refused = []
    for number, rows in enumerate([80] * 50 + [0] * 30 + bursts):
        time = began + number * 0.04
        verdicts = []
        for _ in range(rows):
            request = Request(deadline=Deadline(time + 5.0), queued_at=time)
            verdicts.append(admitting.verdict(5.0, time, background=False))
            if verdicts[-1] is None:
                admitting.admit(request, time)
                lanes.append(request)
        admitting.shed(lanes, time)
        taken = lanes.take(time)[0] if lanes else []
        admitting.left(taken)
        admitting.drained(len(taken), 0.04, time, leaves_others=bool(lanes))
        refused.append(sum(verdict is not None for verdict in verdicts))
    return refused


def test_each_class_stands_for_itself() -> None:
    """A lower class that has to wait refuses its own kind only."""
    admitting = admission(target=0.05)
    admitting.admit(Request(20, background=True), now())
    admitting.admit(Request(), now())
    drain(admitting, rows=1, seconds=0.01)
    stand(admitting, background=True)
    assert [reason(admitting, Request(background=background)) for background in (False, True)] == ["", "standing"]


def test_only_a_queue_that_sheds_does() -> None:
    """Without `sheds` nobody who waits is sent away, and the order stays."""
    patient, strict = admission(), admission(sheds=True)
    lanes = stand(patient)
    assert (list(patient.shed(lanes, 5.0)), patient.newest_first) == ([], False)
    lanes = stand(strict)
    assert list(strict.shed(lanes, 4.96)) == []  # no batch has left without it
    strict.formed(4.97)
    assert list(strict.shed(lanes, 4.98)) == []  # or not for long
    lanes.append(young := Request(queued_at=4.99))
    shed = list(strict.shed(lanes, 5.0))
    assert strict.newest_first
    assert len(shed) == 1
    assert young not in shed


def test_a_short_burst_before_a_slow_model_is_no_standing_queue() -> None:
    """Delays of one and two batches are what batches of that length make, however long that is."""
    admitting = admission(target=0.01, sheds=True)
    drain(admitting, rows=1, seconds=0.5)
    lanes: Lanes[Request] = Lanes(1)
    lanes.append(Request(queued_at=10.0))
    for time in (10.5, 11.0, 11.5):
        admitting.shed(lanes, time)
    assert not admitting.newest_first


def test_lost_batches_say_nothing_about_the_rate() -> None:
    """A batch that answered nobody, and the time without any consumer, change no estimate."""
    admitting = admission()
    admitting.admit(Request(20), now())
    drain(admitting, rows=1, seconds=0.1)
    before = (admitting.rate.per_second, admitting.batch_seconds.median)
    admitting.drained(0, 50.0, 100.0, leaves_others=True)
    admitting.stalled(150.0)
    admitting.drained(1, 0.1, 200.0, leaves_others=True)
    assert (admitting.rate.per_second, admitting.batch_seconds.median) == before


def test_a_batch_that_took_all_there_was_says_nothing_about_the_rate() -> None:
    """A queue that is never longer than a batch has no measured rate: it could drain far faster than requests come."""
    admitting = admission()
    for number in range(10):
        admitting.drained(1, 0.1, number * 0.1, leaves_others=False)
    assert admitting.rate.per_second == 0


def test_what_waited_for_consumers_is_no_standing_queue() -> None:
    """After an outage the delay counts from its end, so that nobody is refused or shed for it."""
    admitting = admission(sheds=True)
    lanes: Lanes[Request] = Lanes(1)
    lanes.append(Request(queued_at=1.0))
    admitting.stalled(4.0)
    shed = [admitting.shed(lanes, time) for time in (4.005, 4.01, 4.015)]
    assert [list(entries) for entries in shed] == [[], [], []]
    assert not admitting.newest_first


def test_a_rate_that_is_not_measured_any_more_refuses_nobody() -> None:
    """What was measured of a slow time does not keep a later one, in which nothing stands, from being served."""
    admitting = admission()
    for number in range(5):
        admitting.drained(1, 0.1, 9.5 + number * 0.1, leaves_others=True)
    admitting.admit(Request(50), 10.0)
    with pytest.raises(Overloaded, match="deadline"):
        admitting.admit(Request(deadline=Deadline(11.0)), 10.0)
    admitting.admit(Request(deadline=Deadline(14.0)), 13.0)


def test_without_admission_everything_comes_in() -> None:
    """The control for measurements counts and refuses nothing."""
    admitting = NoAdmission(Limits(1, 1, 0.01, sheds=True))
    for _ in range(5):
        admitting.admit(Request(10), now())
    assert admitting.rows == 50
    assert list(admitting.shed(stand(admitting), 99.0)) == []
