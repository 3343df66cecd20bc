"""The generator as a process of its own."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import msgspec
import pytest

from deploy.load.plan import Kind, Plan, Stage
from deploy.load.process import sending, sent
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT
from tests.deploy.load.server import answer, server


def plan(port: int, seconds: float = 0.2) -> Plan:
    """Return a plan of GETs."""
    return Plan("127.0.0.1", port, (Kind("ask", path="/health"),), (Stage(200, seconds),), connections=2)


async def test_a_run_comes_back_as_records() -> None:
    """The caller gets every request of the plan."""
    async with server(answer) as port:
        finished = await asyncio.to_thread(sent, plan(port))
    assert finished.records.statuses().keys() == {"200"}
    assert finished.samples == {}


async def test_a_run_can_be_ended_early() -> None:
    """`stop` brings the records so far."""
    async with server(answer) as port:

        def stopped() -> int:
            with sending(plan(port, seconds=600)) as running:
                return len(running.stop().records)

        assert await asyncio.to_thread(stopped) < 600 * 200


def test_nobody_listening_is_the_callers_error() -> None:
    """A run that cannot start says why and what to do."""
    with pytest.raises(ConfigurationError, match=r"takes no connections .*make status"):
        sent(plan(1))


async def test_people_get_a_table_and_programs_json() -> None:
    """The command prints one of the two on standard output, and ends with 0 when nothing failed."""
    async with server(answer) as port:
        command = [
            sys.executable,
            "-m",
            "deploy.load",
            f"http://127.0.0.1:{port}/",
            "--rate",
            "100",
            "--seconds",
            "0.2",
        ]

        def run(*more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([*command, *more], cwd=CHECKOUT, capture_output=True, text=True, check=True)

        shown = await asyncio.to_thread(run)
        told = await asyncio.to_thread(run, "--json")
    assert "| as expected |" in shown.stdout
    assert msgspec.json.decode(told.stdout)["total"]["failed"] == 0


@pytest.mark.parametrize("words", [["http://x:1/", "--rate", "-1"], ["ftp://x/"], [], ["http://x/", "--rate", "1e9"]])
def test_a_plan_that_cannot_be_used_is_refused(words: list[str]) -> None:
    """A mistake in the arguments ends with 2 and a sentence, not with a trace."""
    command = [sys.executable, "-m", "deploy.load", *words]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith(".\n") or "plan cannot be used" in done.stderr
