"""supervisord's log lines become lives and exits."""

from __future__ import annotations

from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st
from supervisor.options import decode_wait_status, signame

from deploy.controller.journal import LOST, Lives, read
from otel.lives import Exit, Life

NAMES = st.from_regex(r"[a-z]{1,9}(-[0-9]{1,2})?", fullmatch=True)
PIDS = st.integers(2, 4_194_304)
STAMP = "2026-11-24 05:46:12,345"
AT = datetime.fromisoformat(STAMP).timestamp()


def line(message: str, level: str = "INFO") -> str:
    """Return a line as supervisor's logger formats it."""
    return f"{STAMP} {level} {message}"


def only(lives: Lives, message: str) -> Exit:
    """Return the one exit that a message tells of."""
    _, exits = read(lives, line(message))
    assert len(exits) == 1
    return exits[0]


@given(NAMES, PIDS, st.integers(1, 255), st.booleans(), st.floats(0.001, 1e6))
def test_an_exit_code_is_read_back(name: str, pid: int, code: int, expected: bool, uptime: float) -> None:  # noqa: FBT001  # hypothesis
    """Whatever supervisord writes about an exit, the record has pid, code, expectation and uptime."""
    _, cause = decode_wait_status(code << 8)
    suffix = "expected" if expected else "not expected"
    found = only({name: Life(pid, AT - uptime)}, f"exited: {name} ({cause}; {suffix})")
    assert (found.process, found.pid, found.code, found.signal) == (name, pid, code, None)
    assert (found.expected, found.asked) == (expected, False)
    assert found.uptime is not None
    assert abs(found.uptime - uptime) < 0.01
    assert abs(found.seconds - AT) < 0.001


@given(NAMES, st.integers(1, 64), st.booleans())
def test_a_signal_is_read_back(name: str, number: int, core: bool) -> None:  # noqa: FBT001  # hypothesis
    """Whatever signal ends a program, the record has its name, and whether it dumped core."""
    _, cause = decode_wait_status(number | (0x80 if core else 0))
    found = only({}, f"exited: {name} ({cause}; not expected)")
    assert (found.signal, found.core, found.code) == (signame(number), core, None)
    assert (found.pid, found.uptime, found.expected) == (None, None, False)


def test_a_stop_that_was_asked_for_is_expected() -> None:
    """`supervisorctl stop` is no crash, whatever signal it took."""
    found = only({"inference-3": Life(7, AT - 2)}, "stopped: inference-3 (terminated by SIGKILL)")
    assert (found.slot, found.asked, found.expected, found.signal) == (3, True, True, "SIGKILL")


def test_a_program_that_ended_is_gone() -> None:
    """A spawn adds a life, its exit takes it away."""
    lives, _ = read({}, line("spawned: 'inference-0' with pid 42"))
    assert lives == {"inference-0": Life(42, AT)}
    assert read(lives, line("exited: inference-0 (exit status 0; expected)", "WARN"))[0] == {}


def test_what_a_killed_supervisord_left_is_recorded_as_lost() -> None:
    """A supervisord that starts while programs of the one before are on record makes exits of them."""
    lives, exits = read({"gateway-0": Life(5, AT - 9)}, line("supervisord started with pid 6"))
    assert lives == {}
    assert [(found.process, found.pid, found.reason, found.signal, found.code) for found in exits] == [
        ("gateway-0", 5, LOST, None, None)
    ]


@given(st.text())
def test_any_other_text_changes_nothing(text: str) -> None:
    """Lines that tell of no start and no end, and garbage, are skipped."""
    lives = {"gateway-0": Life(5, AT)}
    assert read(lives, text) == (lives, [])
    assert read(lives, line(f"success: {text}")) == (lives, [])
