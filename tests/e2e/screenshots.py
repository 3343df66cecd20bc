"""Photographs every view of the console in light and dark, on a system of its own with a little traffic.

    python -m tests.e2e.screenshots docs/console

The system starts on free ports, answers for about half a minute, loses a worker, and is stopped again.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests import web
from tests.e2e.browser import Console, console
from tests.e2e.system import System

WATCHED_SECONDS = 25.0
SCHEMES = ("light", "dark")
CUT = ("live", "requests")
"""Views that are longer than a picture should be."""

DIGIT = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0] * 4
LOADS: tuple[tuple[dict[str, object], float, dict[str, str]], ...] = (
    ({"prompt": "What a fine day"}, 0.03, {}),
    ({"prompt": "This is terrible"}, 0.05, {}),
    ({"model_name": "digits", "features": DIGIT}, 0.01, {}),
    ({"model_name": "digits", "features": DIGIT}, 0.01, {}),
    ({"features": [5.1, 3.5, 1.4]}, 0.4, {}),
    ({"features": [5.1, 3.5, 1.4]}, 3.0, {"X-Request-Timeout": "0.3"}),
)
"""Bodies, the mean seconds between two of them, and headers; the last one misses its deadline."""


@contextmanager
def traffic(url: str) -> Iterator[None]:
    """Ask models until the block ends, in one thread for each kind of request."""
    over = threading.Event()

    def ask(body: dict[str, object], pause: float, headers: dict[str, str]) -> None:
        with web.client(timeout=20) as client:
            while not over.wait(random.expovariate(1 / pause)):
                with suppress(httpx.TransportError):
                    client.post(f"{url}/predict", json=body, headers=headers)

    threads = [threading.Thread(target=ask, args=load) for load in LOADS]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def shoot(opened: Console, folder: Path, name: str) -> None:
    """Write `name-light.png` and `name-dark.png` of what the page shows now."""
    for scheme in SCHEMES:
        # Reduced motion, or the picture would show the colours on their way.
        opened.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light", reduced_motion="reduce")
        opened.page.evaluate("scrollTo(0, 0)")
        opened.page.screenshot(path=folder / f"{name}-{scheme}.png", full_page=name not in CUT)
        if name == "live":
            why = opened.page.locator(".card", has=opened.page.get_by_role("heading", name="Why was this slow?"))
            why.screenshot(path=folder / f"why-{scheme}.png")


def photograph(opened: Console, system: System, folder: Path) -> None:
    """Go through the views."""
    page = opened.page
    page.set_viewport_size({"width": 1240, "height": 1100})
    opened.open("live?model=digits")
    time.sleep(WATCHED_SECONDS)
    page.get_by_role("button", name="Look again").click()
    page.locator(".why-row").first.wait_for()
    page.locator("h1").click()
    time.sleep(2)
    shoot(opened, folder, "live")
    page.set_viewport_size({"width": 1240, "height": 860})
    system.control("signal", "KILL", "inference:inference-1")
    opened.open("requests")
    page.locator("tbody a").first.wait_for()
    shoot(opened, folder, "requests")
    page.locator("tbody a").first.click()
    page.locator(".waterfall").wait_for()
    shoot(opened, folder, "trace")
    opened.open("try?model=digits")
    page.get_by_role("button", name="Sample of a 3").click()
    page.locator(".answer .waterfall").wait_for()
    shoot(opened, folder, "try")
    for name in ("models", "workers"):
        opened.open(name)
        page.locator("table").first.wait_for()
        time.sleep(5)  # until the lost worker is back, and its processor time has been looked at twice
        shoot(opened, folder, name)


def main() -> None:
    """Start a system, photograph it, stop it."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.screenshots", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="where the pictures go, for example docs/console")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hub-", dir="/tmp") as place:
        system = System(Path(place), inference={"mock_latency": 0.5})
        try:
            system.start()
            with traffic(system.url), console(system.url) as opened:
                photograph(opened, system, folder)
        finally:
            system.stop()


if __name__ == "__main__":
    main()
