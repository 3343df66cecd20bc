"""One page has the numbers of the whole machine, and everything that alerts and dashboard ask for is on it."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests import web
from tests.e2e.system import System
from tests.otel.expressions import alert_expressions, dashboard_expressions, names
from tests.tools import tool
from tests.waiting import wait_for

PROMPT = {"prompt": "fine"}
NUMBERS = {"features": [1.0], "model_name": "v1-mock"}
RESTARTS = 3
EXITS, STORED = "inferencehub_controller_exits_total", "inferencehub_tracestore_spans_stored_total"


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Start a system of one worker, whose queue is so small that some requests are refused."""
    with tempfile.TemporaryDirectory(prefix="hub-") as folder:
        running = System(Path(folder), gateway={"max_queue_rows": 1}, inference={"workers": 1, "mock_latency": 1.0})
        try:
            running.start()
            yield running
        finally:
            running.stop()


def scraped(system: System) -> str:
    """Return the page."""
    return web.get(f"{system.url}/metrics").raise_for_status().text


def series(page: str) -> set[str]:
    """Return the names of all series on a page."""
    return {line.split("{")[0].split(" ")[0] for line in page.splitlines() if not line.startswith("#")}


def press(system: System, count: int) -> list[int]:
    """Send that many slow requests at once and return the statuses."""
    with ThreadPoolExecutor(count) as pool:
        asked = [pool.submit(httpx.post, f"{system.url}/predict", json=NUMBERS, timeout=20) for _ in range(count)]
        return [one.result().status_code for one in asked]


def is_busy(system: System) -> bool:
    """Tell whether a slow batch is at the worker; a gateway tells that after it has answered something."""
    assert web.post(f"{system.url}/predict", json=PROMPT).status_code == 200
    return 'batches_in_flight{model="v1-mock"} 0.0' not in scraped(system)


def worker(system: System) -> int:
    """Return the pid of the worker, waiting until there is one."""
    return wait_for(lambda: system.pids("inference"), "a worker")[0]


def is_replaced(system: System, dead: int) -> bool:
    """Tell whether another worker runs."""
    return worker(system) != dead


def test_whatever_is_asked_for_is_there(system: System) -> None:
    """After answers, refusals and the death of a worker each metric of alerts and dashboard is in the scrape."""
    assert web.post(f"{system.url}/predict", json=PROMPT).status_code == 200
    assert 503 in press(system, 80)
    with ThreadPoolExecutor(1) as pool:
        pressed = pool.submit(press, system, 8)
        wait_for(lambda: is_busy(system), "a batch at a worker")
        os.kill(worker(system), 9)
        assert set(pressed.result()) <= {200, 503}
    wanted = {name for one in (*alert_expressions(), *dashboard_expressions()) for name in names(one)} - {"up"}

    def missing() -> set[str]:
        return wanted - series(scraped(system))

    wait_for(lambda: not missing() or press(system, 1) == [], f"{missing()} in the scrape", 20)


def restart_worker(system: System) -> None:
    """Kill the worker and wait until another one serves."""
    dead = worker(system)
    os.kill(dead, 9)
    wait_for(partial(is_replaced, system, dead), "a new worker")
    system.wait_until_ready()


def test_the_page_does_not_grow_with_restarts(system: System) -> None:
    """Workers that are killed again and again add no series but the one of their exits, and no file."""
    restart_worker(system)
    wait_for(lambda: {EXITS, STORED} <= series(scraped(system)), "the series that come with the first exit")
    before, files = series(scraped(system)), len(list((system.run_folder / "metrics").iterdir()))
    lines = len(scraped(system).splitlines())
    for _ in range(RESTARTS):
        restart_worker(system)
    after = scraped(system)
    assert series(after) == before
    assert len(after.splitlines()) <= lines + 2
    assert len(list((system.run_folder / "metrics").iterdir())) == files


def test_promtool_has_no_complaint(system: System) -> None:
    """Names, units and help texts are as Prometheus' own linter wants them."""
    command: list[str | Path] = [tool("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=scraped(system), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
