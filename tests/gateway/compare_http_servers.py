"""Compare the gateway's HTTP worker with gunicorn's own: speed, resistance, and requests lost while restarting.

    python -m tests.gateway.compare_http_servers > tables.md

Run it from a checkout with the development dependencies; both servers run the tiny application of the tests. The speed
part needs wrk (`apt-get install wrk`). The tables go to standard output, progress to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from tests.gateway import http_clients
from tests.gateway.http_app import BIG_ANSWER
from tests.gateway.http_clients import BODY, Tally
from tests.gateway.http_vectors import GET, VECTORS, exchange, statuses_in, verdict

OURS, NATIVE = "gateway worker", "gunicorn asgi"
OPTIONS = {
    OURS: ("-k", "gateway.http_worker.GatewayWorker"),
    NATIVE: ("-k", "asgi", "--http-parser", "python", "--asgi-loop", "uvloop", "--keep-alive", "2"),
}
SETTINGS = "[gateway]\nheader_deadline = 2.0\nkeep_alive = 2.0\nwrite_deadline = 2.0\n"
PATIENCE = 5.0
WRK_SCRIPT = f"""wrk.method = "POST"
wrk.body = '{BODY.decode()}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Host"] = "localhost"
"""


@dataclass
class Site:
    """One listening socket, owned here as supervisord would, and the gunicorn masters that share it as fd 0."""

    kind: str
    settings: Path
    listener: socket.socket
    masters: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self.listener.getsockname()
        return host, port

    def start(self) -> subprocess.Popen[bytes]:
        """Start one more master with one worker, and return it once the worker is there."""
        command = [sys.executable, "-m", "gunicorn", *OPTIONS[self.kind], "-b", "fd://0", "--graceful-timeout", "8"]
        command += ["--no-control-socket", "--log-level", "critical", "tests.gateway.http_app:app"]
        environment = os.environ | {"INFERENCEHUB_SETTINGS": str(self.settings)}
        master = subprocess.Popen(command, stdin=self.listener.fileno(), env=environment)  # written above
        wait_until(lambda: bool(workers(master.pid)))
        self.masters.append(master)
        return master

    def stop(self, master: subprocess.Popen[bytes]) -> None:
        """Stop one master and wait for it."""
        master.terminate()
        master.wait(15)
        self.masters.remove(master)


@contextlib.contextmanager
def site(kind: str, masters: int = 1) -> Iterator[Site]:
    """Serve with that kind of worker until the block ends."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        settings = Path(folder) / "settings.toml"
        settings.write_text(SETTINGS)
        served = Site(kind, settings, listener)
        try:
            for _ in range(masters):
                served.start()
            wait_until(lambda: statuses_in(exchange(served.address, GET + b"\r\n", seconds=1)[0]) == [200])
            yield served
        finally:
            for master in list(served.masters):
                served.stop(master)


def workers(pid: int) -> list[int]:
    """Return the child processes of a master."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Poll a condition; raises TimeoutError if it does not become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("a server did not get ready")
        time.sleep(0.05)


def note(text: str) -> None:
    """Show progress."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # progress of a command-line program


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def speed(rounds: int, seconds: int) -> str:
    """Return the table of requests per second: one process each, 32 kept-alive connections, rounds interleaved."""
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is missing; install it with: apt-get install wrk")
    rates: dict[str, list[float]] = {OURS: [], NATIVE: []}
    with contextlib.ExitStack() as stack:
        script = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "post.lua"
        script.write_text(WRK_SCRIPT)
        sites = [stack.enter_context(site(kind)) for kind in rates]
        for number in range(rounds):
            for served in sites:
                rates[served.kind].append(_rate(wrk, script, served.address, seconds))
            note(f"speed, round {number + 1} of {rounds}: {[round(rate[-1]) for rate in rates.values()]}")
    medians = {kind: statistics.median(values) for kind, values in rates.items()}
    rows = [
        (kind, f"{medians[kind]:.0f}", f"{min(rate):.0f} to {max(rate):.0f}", f"{medians[kind] / medians[NATIVE]:.2f}")
        for kind, rate in rates.items()
    ]
    return table(("worker", f"median of {rounds}, requests/s", "range", "ratio"), rows)


def _rate(wrk: str, script: Path, address: tuple[str, int], seconds: int) -> float:
    url = f"http://{address[0]}:{address[1]}/echo"
    command = [wrk, "-t1", "-c32", f"-d{seconds}s", "-s", str(script), url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # written above
    found = re.search(r"Requests/sec:\s*([0-9.]+)", output)
    if found is None or "Non-2xx" in output or "Socket errors" in output:
        raise SystemExit(f"wrk did not measure clean answers:\n{output}")
    return float(found[1])


def resistance(seed: int, fuzz_seconds: float) -> str:
    """Return the table of the vectors, row by row of the catalogue."""
    results = {kind: _resist(kind, seed, fuzz_seconds) for kind in (OURS, NATIVE)}
    rows = [(row, results[OURS][row], results[NATIVE][row]) for row in sorted(results[OURS])]
    return table(("row", OURS, NATIVE), rows)


def _resist(kind: str, seed: int, fuzz_seconds: float) -> dict[str, str]:
    with site(kind) as served:
        before = workers(served.masters[0].pid)
        results = _attack(served.address)
        note(f"{kind}: vectors done")
        address = served.address
        results |= {
            "E11": http_clients.drops_underscores(address) or "right",
            "E17": http_clients.ends_slow_headers(address, PATIENCE) or "right",
            "E18 drip": http_clients.ends_dripping_body(address, PATIENCE) or "right",
            "E19": http_clients.cuts_slow_readers(address, PATIENCE, BIG_ANSWER) or "right",
            "E20": http_clients.ends_idle_connections(address, PATIENCE) or "right",
        }
        sent, failed = http_clients.survives_damage(address, seed, fuzz_seconds)
        same = "same process" if workers(served.masters[0].pid) == before else "process died"
        results[f"E21 (seed {seed})"] = f"{sent} requests, {failed} answered 5xx, {same}"
        results["E22"] = "TLS is not offered"
    return results


def _attack(address: tuple[str, int]) -> dict[str, str]:
    faults: dict[str, list[str]] = {}
    for vector in VECTORS:
        received, closed = exchange(address, vector.data, seconds=4.0)
        wrong = verdict(vector, received, closed=closed)
        faults.setdefault(vector.row, []).append(f"{vector.name}: {wrong}" if wrong else "")
    return {
        row: "; ".join([f"{found.count('')} of {len(found)} right", *filter(None, found)])
        for row, found in faults.items()
    }


def losses(rounds: int) -> str:
    """Return the table of requests lost while reloading and while restarting, under load."""
    occasions = (("SIGHUP reload", 1, _reload), ("rolling restart", 2, _restart_each))
    rows = []
    for name, masters, action in occasions:
        for kind in (OURS, NATIVE):
            tallies = [uvloop.run(_under_load(kind, masters, action)) for _ in range(rounds)]
            answered, lost = sum(tally.answered for tally in tallies), [tally.lost for tally in tallies]
            rows.append((name, kind, str(rounds), str(answered), f"{sum(lost)} {lost}"))
            note(" ".join(rows[-1]))
    return table(("occasion", "worker", "rounds", "answered", "lost"), rows)


async def _under_load(kind: str, masters: int, action: Callable[[Site], None]) -> Tally:
    with site(kind, masters) as served:
        stop = asyncio.Event()
        running = asyncio.create_task(http_clients.load(served.address, stop))
        await asyncio.sleep(1)
        await asyncio.to_thread(action, served)
        await asyncio.sleep(1)
        stop.set()
        return await running


def _reload(served: Site) -> None:
    [master] = served.masters
    for _ in range(2):
        before = set(workers(master.pid))
        master.send_signal(signal.SIGHUP)
        wait_until(lambda before=before: bool(now := set(workers(master.pid))) and not now & before)  # type: ignore[misc]  # mypy cannot type a lambda's default


def _restart_each(served: Site) -> None:
    for master in list(served.masters):
        served.stop(master)
        served.start()
        time.sleep(1)  # the new worker imports the application meanwhile; supervisord's startsecs does the same


def main() -> None:
    """Run the chosen parts and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["speed", "resistance", "losses"], help="which tables")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of speed and of each restart (default 5)")
    parser.add_argument("--seconds", type=int, default=4, help="length of one speed round (default 4)")
    parser.add_argument("--fuzz-seconds", type=float, default=20.0, help="length of the fuzz run (default 20)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="seed of the fuzz run")
    chosen = parser.parse_args()
    parts = {
        "speed": lambda: speed(chosen.rounds, chosen.seconds),
        "resistance": lambda: resistance(chosen.seed, chosen.fuzz_seconds),
        "losses": lambda: losses(chosen.rounds),
    }
    for part in chosen.parts:
        print(parts[part](), flush=True)  # noqa: T201  # the program's output


if __name__ == "__main__":
    main()
