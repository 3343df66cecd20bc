"""`python -m deploy.restarts`: whether the metrics stay right and small while workers are killed again and again."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import msgspec

from deploy.chaos.watch import Probe, slot_probe
from deploy.measurement import keep, measurement, tell
from deploy.repositories import repository
from deploy.table import table
from deploy.target import Target
from deploy.trial import Sections, Trial, trial
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT
from otel.metrics import FOLDER

MODEL = "tiny"
SOURCE = CHECKOUT / "deploy" / "bench" / "models" / MODEL
BODY = json.dumps({"features": [0.1, 0.2, 0.3, 0.4], "model_name": MODEL})
WORKERS, GATEWAYS = 2, 2
PLACES = ("gateway-0", "gateway-1", "inference-0", "inference-1")
TOGETHER = 16
BACK_SECONDS, COUNTED_SECONDS, POLL_SECONDS = 60.0, 10.0, 0.01
FLUSHED_SECONDS = 0.6
"""After which every process has added to its metrics what it counted."""
MOST_NEW_SERIES = 8
"""A batch that was lost or sent again has series of its own, once for all of them."""

TOLD_EVERY = 20
GROWING = ("_total", "_bucket", "_count", "_sum")
HEAD = ("", "before", "after")


class Reading(msgspec.Struct, frozen=True):
    """What is on /metrics and in the metrics folder at one time; samples by name and labels, as the page has them."""

    samples: Mapping[str, float]
    page_bytes: int
    files: int
    file_bytes: int

    def total(self, name: str, label: str = "") -> float:
        """Return the sum of a metric's samples that have a label, such as `cause="SIGKILL"`."""
        return sum(value for key, value in self.samples.items() if key.split("{")[0] == name and label in key)

    @property
    def killed(self) -> float:
        """How many ends by SIGKILL the controller has counted."""
        return self.total("inferencehub_controller_exits_total", 'cause="SIGKILL"')


class Result(msgspec.Struct, frozen=True):
    """The first and the last reading, which counters fell between any two of them, and how the predictions ended."""

    kills: int
    seconds: float
    before: Reading
    after: Reading
    fallen: list[str]
    statuses: Mapping[str, int]


def main() -> int:
    """Kill and look; return 0 where all is right, 1 where not, 130 after Ctrl-C."""
    arguments = _parser().parse_args()
    return measurement(lambda: _run(arguments))


def fallen(older: Reading, newer: Reading) -> list[str]:
    """Return the counters that are smaller than they were, or gone."""
    return [
        name
        for name, value in older.samples.items()
        if name.split("{")[0].endswith(GROWING) and newer.samples.get(name, -1.0) < value
    ]


def verdict(result: Result) -> list[str]:
    """Return what must not be: a counter that fell, a wrong sum, growth, or a prediction without its answer."""
    before, after = result.before, result.after
    counted, answered = after.killed - before.killed, result.statuses.get("200", 0)
    failed = sum(result.statuses.values()) - answered
    new = len(after.samples) - len(before.samples)
    wrong = [f"{len(result.fallen)} counters fell, such as {result.fallen[0]}"] if result.fallen else []
    wrong += [f"{counted:.0f} restarts are counted, not {result.kills}"] if counted != result.kills else []
    wrong += [f"{failed} predictions failed"] if failed else []
    for name in ("requests_total", "request_seconds_count"):
        added = after.total(f"inferencehub_gateway_{name}") - before.total(f"inferencehub_gateway_{name}")
        wrong += [f"{name} grew by {added:.0f}, not by {answered}"] if added != answered else []
    wrong += [f"there are {new} new series"] if new > MOST_NEW_SERIES else []
    wrong += [f"{after.files - before.files} files were added"] if after.files > before.files else []
    return wrong + (["the files grew"] if after.file_bytes > before.file_bytes else [])


def rows(result: Result) -> list[tuple[str, ...]]:
    """Return the readings side by side, for the table."""
    pair = (result.before, result.after)
    return [
        ("series on /metrics", *(str(len(one.samples)) for one in pair)),
        ("bytes of /metrics", *(str(one.page_bytes) for one in pair)),
        ("files in the metrics folder", *(str(one.files) for one in pair)),
        ("bytes of these files", *(str(one.file_bytes) for one in pair)),
        ("ends by SIGKILL that are counted", *(f"{one.killed:.0f}" for one in pair)),
        ("predictions that are counted", *(f"{one.total('inferencehub_gateway_requests_total'):.0f}" for one in pair)),
    ]


def _run(arguments: argparse.Namespace) -> int:
    result = _measured(arguments)
    sys.stdout.write(table(HEAD, rows(result)))
    sys.stdout.write(f"{result.kills} kills in {result.seconds:.0f} s; predictions: {dict(result.statuses)}.\n")
    wrong = verdict(result)
    sys.stdout.write("".join(f"Not as it must be: {sentence}.\n" for sentence in wrong))
    keep(arguments.json, result)
    return 1 if wrong else 0


def _measured(arguments: argparse.Namespace) -> Result:
    with repository() as models:
        shutil.copytree(SOURCE, models / MODEL, ignore=shutil.ignore_patterns("__pycache__"))
        sections: Sections = {
            "gateway": {"processes": GATEWAYS},
            "inference": {"workers": WORKERS, "repository": str(models)},
            "predict": {"features_model": MODEL, "prompt_model": MODEL},
        }
        tell("Starting a system ...")
        with trial(sections) as running:
            target = Target(running, WORKERS, GATEWAYS, random.Random(1))  # noqa: S311  # no secret hangs on it
            return Killing(target, arguments.every).measured(arguments.kills)


class Killing:
    """Kills the workers in turn, each as soon as the one before serves again, and asks after each `every` kills."""

    def __init__(self, target: Target, every: int) -> None:
        self._target, self._every = target, every
        sockets = [target.trial.run_folder / f"inference-{slot}.sock" for slot in range(WORKERS)]
        self._probes = [slot_probe(slot, socket) for slot, socket in enumerate(sockets)]
        self._statuses: Counter[str] = Counter()
        self._fallen: list[str] = []

    def measured(self, kills: int) -> Result:
        """Return what that many kills changed; some come first, so that each process has its series and files."""
        for number in range(2 * WORKERS):
            self._kill(number % WORKERS)
        _wait(self._all_have_answered, "a process answered nothing")
        time.sleep(FLUSHED_SECONDS)
        before = self._counted(2 * WORKERS)
        self._statuses.clear()
        began, latest = time.monotonic(), before
        for number in range(1, kills + 1):
            self._kill(number % WORKERS)
            if number % self._every == 0:
                self._ask()
            newer = reading(self._target.trial)
            self._fallen += fallen(latest, newer)
            latest = newer
            if number % TOLD_EVERY == 0:
                tell(f"... {number} of {kills} kills, {len(latest.samples)} series")
        seconds = time.monotonic() - began
        time.sleep(FLUSHED_SECONDS)
        after = self._counted(int(before.killed) + kills)
        return Result(kills, seconds, before, after, self._fallen + fallen(latest, after), dict(self._statuses))

    def _all_have_answered(self) -> bool:
        # A process has its last file, that of histograms, once it has answered; alone, a request asks always the same.
        with ThreadPoolExecutor(TOGETHER) as pool:
            list(pool.map(lambda _: self._ask(), range(TOGETHER)))
        files = {file.name for file in (self._target.trial.run_folder / FOLDER).iterdir()}
        return files.issuperset(f"histogram_{place}.db" for place in PLACES)

    def _kill(self, slot: int) -> None:
        pid = self._target.workers()[slot]
        os.kill(pid, signal.SIGKILL)
        _wait(lambda: self._is_back(slot, pid, self._probes[slot]), f"worker {slot} did not come back")

    def _is_back(self, slot: int, dead: int, probe: Probe) -> bool:
        workers = self._target.workers()
        return len(workers) == WORKERS and workers[slot] != dead and probe.ask()

    def _counted(self, killed: int) -> Reading:
        """Return a reading, as soon as the controller has counted that many kills, or what there is after a while."""
        latest = time.monotonic() + COUNTED_SECONDS
        found = reading(self._target.trial)
        while found.killed < killed and time.monotonic() < latest:
            time.sleep(POLL_SECONDS)
            found = reading(self._target.trial)
        return found

    def _ask(self) -> None:
        connection = HTTPConnection("127.0.0.1", self._target.trial.port, timeout=10)
        connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
        self._statuses[str(connection.getresponse().status)] += 1
        connection.close()


def reading(running: Trial) -> Reading:
    """Look at the page and the folder."""
    connection = HTTPConnection("127.0.0.1", running.port, timeout=10)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read()
    connection.close()
    lines = [line for line in page.decode().splitlines() if not line.startswith("#")]
    samples = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}
    sizes = [file.stat().st_size for file in (running.run_folder / FOLDER).iterdir()]
    return Reading(samples, len(page), len(sizes), sum(sizes))


def _wait(condition: Callable[[], bool], what: str) -> None:
    latest = time.monotonic() + BACK_SECONDS
    while not condition():
        if time.monotonic() > latest:
            raise ConfigurationError(f"{what} within {BACK_SECONDS:.0f} s.")
        time.sleep(POLL_SECONDS)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.restarts",
        description="Start a private system, SIGKILL its workers in turn, each as soon as the one before serves again, "
        "and compare the metrics before and after: no counter falls, the sums are right, nothing grows.",
        epilog="Example: python -m deploy.restarts --kills 200 --every 5",
    )
    add = parser.add_argument
    add("--kills", type=int, default=200, help="how many (default 200)")
    add("--every", type=int, default=5, help="kills between two predictions (default 5)")
    add("--json", type=Path, metavar="FILE", help="write the readings there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
