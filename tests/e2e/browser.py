"""Debian's Chromium on the console, which notices whatever should not have happened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import ConsoleMessage, Dialog, Page, sync_playwright

from tests.tools import chromium

VIOLATIONS = """
window.violations = [];
addEventListener("securitypolicyviolation", ({violatedDirective, sample}) => {
  violations.push(`${violatedDirective} ${sample}`);
});
"""
UNNAMED = """
Array.from(document.querySelectorAll("input, select, textarea, button, a, canvas, svg[role=img], [role=region]"))
  .filter((one) => one.checkVisibility())
  .filter((one) => !one.ariaLabel && !one.labels?.length && !one.textContent.trim())
  .map((one) => one.outerHTML.slice(0, 200))
"""


@dataclass
class Console:
    """A browser's page on the console. `complaints` has dialogs, errors of scripts and of the browser's own console."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, view: str) -> None:
        """Load a view anew, as from a bookmark."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/console#/{view}")
        self.page.get_by_role("heading", level=1).wait_for()

    def violations(self) -> list[str]:
        """Return what the page's policy had to stop."""
        found: list[str] = self.page.evaluate("violations")
        return found

    def unnamed(self) -> list[str]:
        """Return the controls and charts that nobody who cannot see them could tell apart."""
        found: list[str] = self.page.evaluate(UNNAMED)
        return found


@contextmanager
def console(url: str) -> Iterator[Console]:
    """Open a browser for the console of a gateway."""
    # Chromium's own sandbox refuses to run as root.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=options)
        page = browser.new_page(viewport={"width": 1240, "height": 860})
        page.add_init_script(VIOLATIONS)
        opened = Console(page, url)
        _watch(page, opened.complaints)
        try:
            yield opened
        finally:
            browser.close()


def _watch(page: Page, complaints: list[str]) -> None:
    def refuse(dialog: Dialog) -> None:
        complaints.append(f"dialog {dialog.message}")
        dialog.dismiss()

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(message.text)

    page.on("dialog", refuse)
    page.on("pageerror", lambda error: complaints.append(f"error {error}"))
    page.on("console", note)
