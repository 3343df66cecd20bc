"""Runs the generator as a process of its own, so that it can have a core of its own, for the programs that measure."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from deploy.load.plan import Plan
from deploy.load.records import Records, read
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT

INTERRUPTED = 130
END_SECONDS = 60.0
"""Beyond the plan's own time and patience: for the interpreter's start and the file at the end."""


@dataclass(frozen=True)
class Finished:
    """What a run left: the records, and one answer for each kind and status that was not expected."""

    records: Records
    samples: dict[str, str]


class Running:
    """A generator that sends; `finish` waits for its end, `stop` makes that now."""

    def __init__(self, process: subprocess.Popen[str], records: Path, seconds: float) -> None:
        self._process = process
        self._records = records
        self._seconds = seconds

    def stop(self) -> Finished:
        """Let no further request become due, and wait for the answers to those before."""
        self._process.send_signal(signal.SIGTERM)
        return self.finish()

    def abandon(self) -> Finished:
        """End it now; what is not answered yet counts as late or unsent."""
        self._process.send_signal(signal.SIGINT)
        return self.finish()

    def finish(self) -> Finished:
        """Wait for the end; raises ConfigurationError with the generator's own words where it could not run."""
        output, errors = self._process.communicate(timeout=self._seconds)
        if self._process.returncode not in {0, 1, INTERRUPTED}:
            raise ConfigurationError(
                f"The load generator failed ({self._process.returncode}): {errors.strip()[-1000:]}"
            )
        return Finished(read(self._records), msgspec.json.decode(output)["samples"])


@contextlib.contextmanager
def sending(plan: Plan, *, core: int | None = None) -> Iterator[Running]:
    """Start a generator, on that core only where one is given; enter when it sends, and leave no process behind.

    Raises ConfigurationError where it cannot start.
    """
    with tempfile.TemporaryDirectory(prefix="hub-load-") as folder:
        file, records = Path(folder, "plan.json"), Path(folder, "records.npz")
        file.write_bytes(msgspec.json.encode(plan))
        # Should this process be killed, nobody else would end the load.
        prefix = ["setpriv", "--pdeathsig", "TERM", "--"]
        prefix += [] if core is None else ["taskset", "-c", str(core)]
        own = [sys.executable, "-m", "deploy.load", "--plan", str(file), "--records", str(records), "--json"]
        with subprocess.Popen(  # noqa: S603  # our own program with our own arguments
            [*prefix, *own], cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            try:
                first = process.stderr.readline() if process.stderr else ""
                if not first.startswith("Sending"):
                    raise ConfigurationError(f"The load generator cannot start: {first}")
                yield Running(process, records, plan.seconds + plan.patience + END_SECONDS)
            finally:
                process.kill()


def sent(plan: Plan, *, core: int | None = None) -> Finished:
    """Send the whole plan and return what became of it; raises ConfigurationError where it could not run."""
    with sending(plan, core=core) as running:
        return running.finish()
