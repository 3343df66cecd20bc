"""The load: wrk with one thread and keep-alive connections, each of which sends when its last answer has come."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import msgspec

from inference_core.errors import ConfigurationError

SCRIPT = Path(__file__).with_name("request.lua")
PACED_SCRIPT = Path(__file__).with_name("paced.lua")
TIMEOUT_SECONDS = 10  # an answer that takes longer counts as an error
MARGIN_SECONDS = 30


class Errors(msgspec.Struct, frozen=True):
    """Counts of what went wrong; `status` has the answers that were not 2xx or 3xx."""

    connect: int = 0
    read: int = 0
    write: int = 0
    timeout: int = 0
    status: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.connect + self.read + self.write + self.timeout + self.status


class Load(msgspec.Struct, frozen=True):
    """What wrk saw: answers of any status, and times in microseconds."""

    requests: int
    microseconds: int
    p50: int
    p99: int
    longest: int
    errors: Errors

    @property
    def requests_per_second(self) -> float:
        """Good answers in a second."""
        return max(self.requests - self.errors.status, 0) * 1e6 / self.microseconds


def check_installed() -> None:
    """Raise ConfigurationError with what to do when there is no wrk."""
    if shutil.which("wrk") is None:
        raise ConfigurationError("The load generator wrk is missing: apt-get install wrk, then try again.")


def run(url: str, bodies: Path, connections: int, seconds: int, rate: float | None = None) -> Load:
    """Send the bodies, one a line, in turn over that many connections for that many seconds.

    With a `rate`, requests per second, each leaves at its time as long as a connection is free.
    Raises ConfigurationError with wrk's own words when it does not report.
    """
    options = ["-t1", f"-c{connections}", f"-d{seconds}s", f"--timeout={TIMEOUT_SECONDS}s"]
    script = [str(SCRIPT), url, "--", str(bodies)]
    if rate is not None:
        script = [str(PACED_SCRIPT), url, "--", str(bodies), str(rate)]
    done = subprocess.run(  # noqa: S603  # the program that the user installed, with our own arguments
        ["wrk", *options, "-s", *script],  # noqa: S607  # Debian's, from PATH
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + MARGIN_SECONDS,
    )
    return parse(done.stdout, done.stderr)


def parse(output: str, complaints: str = "") -> Load:
    """Return the report in wrk's output; raises ConfigurationError with what wrk said when there is none."""
    reports = [line for line in output.splitlines() if line.startswith('{"requests":')]
    if not reports:
        raise ConfigurationError(f"wrk did not report: {(complaints or output).strip()[-500:] or 'it said nothing'}")
    return msgspec.json.decode(reports[-1], type=Load)
