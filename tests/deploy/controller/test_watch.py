"""Which worker is taken for hung, and which one may be killed."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from deploy.controller.watch import Answer, Worker, victim
from inference_core.settings import Controller

SETTINGS = Controller()
GRACE = SETTINGS.start_grace


def worker(*answers: Answer, slot: int = 0, seen: float = 0.0) -> Worker:
    """Return a RUNNING worker that gave these answers, one each second."""
    found = replace(Worker.of(slot, 100 + slot, seen), is_running=True)
    for number, answer in enumerate(answers, start=1):
        found = found.after(answer, seen + number)
    return found


SERVING, SILENT, STARVED = Answer.SERVING, Answer.SILENT, Answer.STARVED
HUNG = (SERVING, SILENT, SILENT, SILENT)


def test_three_silences_in_a_row_are_a_hang() -> None:
    """Two are not, and an answer of any kind begins the count anew."""
    assert worker(*HUNG).hangs(4.0, SETTINGS)
    assert not worker(SERVING, SILENT, SILENT).hangs(3.0, SETTINGS)
    assert not worker(SERVING, SILENT, SILENT, Answer.NOT_SERVING, SILENT).hangs(5.0, SETTINGS)


def test_a_worker_that_loads_its_models_has_time() -> None:
    """Before its first answer a worker may be silent for `start_grace`, and no longer."""
    silent = worker(*[SILENT] * 10)
    assert not silent.hangs(GRACE - 0.1, SETTINGS)
    assert silent.hangs(GRACE, SETTINGS)


def test_only_a_running_program_hangs() -> None:
    """What supervisord is still starting, or stopping, is left alone."""
    assert not replace(worker(*HUNG), is_running=False).hangs(4.0, SETTINGS)


def test_a_starved_machine_excuses_silence_for_a_while() -> None:
    """Silence while the CPU was taken counts only after it has lasted for `start_grace`."""
    starved = worker(SERVING, *[STARVED] * 20)
    assert not starved.hangs(21.0, SETTINGS)
    assert starved.hangs(1.0 + GRACE, SETTINGS)


def test_a_controller_that_was_stopped_blames_nobody() -> None:
    """After a long pause of the controller itself one missed probe is not a hang."""
    assert not worker(SERVING, SILENT).hangs(10_000.0, SETTINGS)


def test_one_at_a_time_and_none_while_another_comes_back() -> None:
    """With a worker that serves, the second hung one waits until the first is back or its time is over."""
    serving, first, second = worker(SERVING, slot=0), worker(*HUNG, slot=1), worker(*HUNG, slot=2)
    assert victim([serving, first, second], 4.0, SETTINGS) == first
    killed = replace(first, killed=4.0)
    assert victim([serving, killed, second], 4.1, SETTINGS) is None
    starting = replace(Worker.of(1, 999, 5.0), is_running=True)
    assert victim([serving, starting, second], 5.1, SETTINGS) is None
    assert victim([serving, starting.after(SERVING, 6.0), second], 6.1, SETTINGS) == second
    assert victim([serving, starting, second], 5.0 + GRACE, SETTINGS) is not None


def test_a_program_that_cannot_start_protects_no_hung_one() -> None:
    """A slot that is down does not count as coming back."""
    down = replace(Worker.of(1, 999, 3.9), is_alive=False)
    assert victim([worker(SERVING, slot=0), down, worker(*HUNG, slot=2)], 4.0, SETTINGS) is not None


def test_when_none_serves_a_hung_worker_does_not_wait() -> None:
    """Nothing is lost by killing it while another one is coming."""
    assert victim([Worker.of(0, 1, 3.9), worker(*HUNG, slot=1)], 4.0, SETTINGS) is not None


@given(st.lists(st.lists(st.sampled_from(Answer), max_size=6), max_size=6), st.floats(0, 100))
def test_a_victim_hangs_and_is_silent_for_longest(answers: list[list[Answer]], now: float) -> None:
    """Whatever the probes found, only a hung worker is chosen, and never one that answered the last probe."""
    workers = [worker(*given_answers, slot=slot) for slot, given_answers in enumerate(answers)]
    chosen = victim(workers, now, SETTINGS)
    if chosen is not None:
        assert chosen.hangs(now, SETTINGS)
        assert chosen.silences >= SETTINGS.probe_failures
        assert chosen.heard == min(other.heard for other in workers if other.hangs(now, SETTINGS))
