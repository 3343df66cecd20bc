"""Commands that start a private system end cleanly, however they end."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from deploy.measurement import measurement
from inference_core.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Give signals and the umask back after a test."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGINT, signal.SIGTERM)]
    mask = os.umask(0o022)
    yield
    os.umask(mask)
    for number, handler in before:
        signal.signal(number, handler)


def test_a_run_decides_its_status() -> None:
    """What the run returns is the exit status."""
    assert measurement(lambda: 7) == 7


def test_an_expected_error_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """A system that cannot start ends the command with 1 and the reason."""

    def run() -> int:
        raise ConfigurationError("port 3000 is taken.")

    assert measurement(run) == 1
    assert capsys.readouterr().err == "port 3000 is taken.\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_unwinds_the_run(number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM both let the run clean up, and end it with 130."""
    cleaned = []

    def run() -> int:
        try:
            os.kill(os.getpid(), number)
            signal.pause()
            return 0
        finally:
            cleaned.append(True)

    assert measurement(run) == 130
    assert cleaned == [True]
