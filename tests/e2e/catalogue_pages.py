"""Rows H09 and I07: what a hostile text and an odd path reach."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from urllib.parse import quote

import httpx
from playwright.sync_api import Page, expect

from gateway.resources.console import files
from tests.e2e.browser import Console, console
from tests.e2e.catalogue_bench import Bench, counted, row, unless
from tests.e2e.guest_models import guests, written
from tests.e2e.hostile_model import ATTACK, DESCRIPTION, NAME, SOURCE, add_hostile
from tests.e2e.hostile_trace import store_hostile
from tests.e2e.outcome import Outcome
from tests.gateway.http_vectors import HOST, exchange, statuses_in

SOON = 20_000
IMAGE = "<img src=x onerror=alert(1)>"
MADE_OF_TEXT = "main img, main script, main iframe, main a[href^='javascript'], pre img"
RULE = {"split": {"1": 1.0}, "labels": {"canary": "1"}}
ANSWERS = (f"/{IMAGE}", f"/v2/models/{IMAGE}", f"/console/api/traces?id={IMAGE}", f"/console/api/why?model={IMAGE}")
TRAVERSALS = (
    "/console/..%2fapp.py", "/console/..%2f..%2fREADME.md", "/console/%2e%2e/app.py", "/console/../app.py",
    "/console/..%5capp.py", "/console/%252e%252e%252fapp.py", "/console/....//app.py", "/console//etc/passwd",
    "/console/.git", "/.git/config", "/.git/HEAD", "/console/main.js.map", "/console/index.html%00.js",
    "/console/console.css.map", "/console/__init__.py", "/docs/../../README.md", "/deploy/settings.toml",
    "/console/api/models/..%2f..%2fetc/card", "/console/api/models/%2e%2e/card", "/console/api/models/linked/card",
    "//etc/passwd", "/static/app.js", "/favicon.ico", "/run/settings.toml", "http://localhost/console/../app.py",
)  # fmt: skip
INSIDES = (b"root:x:", b"[core]", b"import ", b"ref: refs", b"InferenceHub's settings", b'"version":3')


@row("H09", "markup as model's answer, card, error, name, version, id, label, reason, trace, address, in real Chromium")
def markup(bench: Bench) -> Outcome:
    """Show all of it as text; a page without the console's care does run it, as the control shows."""
    models = {
        NAME: add_hostile,
        "unloadable": written("unloadable", DESCRIPTION, f"raise ValueError({ATTACK!r})\n"),
    }
    with guests(bench, models), bench.client() as client, console(bench.system.url) as opened:
        fired = _fires_without_care(opened)
        statuses = _asked_with_markup(client)
        store_hostile(bench.system)
        shown = _shown_in(opened)
        made = sum(_made_at(opened, bench.system.url + quote(path, safe="/?=")) for path in ANSWERS)
        client.delete(f"/admin/traffic/{NAME}")
        wrong = unless(not _serious(opened) and not opened.violations(), f"{_serious(opened)}, {opened.violations()}")
    wrong += unless(fired, "the control did nothing") + unless(not made, f"{made} elements in answers")
    wrong += unless(all(shown.values()), f"shown as text: {shown}") + unless(
        statuses == [404, 404, 400, 400, 400, 200], f"asked: {statuses}"
    )
    return Outcome(
        f"as text in {', '.join(shown)}; no dialog, script or violation; the control fires",
        f"{sum(shown.values())} texts, {len(ANSWERS)} answers opened as pages",
        wrong,
    )


def _fires_without_care(opened: Console) -> bool:
    with opened.page.expect_event("dialog"):
        opened.page.set_content(ATTACK)
    fired = bool(opened.complaints)
    opened.page.goto("about:blank")
    opened.complaints.clear()
    return fired


def _asked_with_markup(client: httpx.Client) -> list[int]:
    headers = {"X-Request-Id": IMAGE, "X-User-Key": IMAGE, "User-Agent": IMAGE, "traceparent": IMAGE}
    reason = {"X-Reason": ATTACK}
    answers = [
        client.post("/predict", json={"prompt": "x", "model_name": "img-src-x"}, headers=headers),
        client.get(f"/v2/models/{quote(IMAGE)}", headers=headers),
        client.post("/predict", json={"prompt": "x", "model_name": ATTACK}, headers=headers),
        client.post("/predict", json={"prompt": "x"}, headers={"X-Model-Version": IMAGE}),
        client.put(f"/admin/traffic/{NAME}", json={"split": {ATTACK: 1.0}, "labels": {ATTACK: "1"}}),
        client.put(f"/admin/traffic/{NAME}", json=RULE, headers=reason),
    ]
    return [answer.status_code for answer in answers]


def _shown_in(opened: Console) -> dict[str, int]:
    page = opened.page
    opened.open(f"try?model={NAME}")
    shown = {"answer": _predicted(page, ".verdict strong")}
    page.get_by_text("JSON", exact=True).click()
    page.get_by_label("Body in the Open Inference Protocol").fill(json.dumps({ATTACK: 1}))
    shown["error"] = _predicted(page, ".failure")
    opened.open("models")
    card = page.locator(".card", has=page.get_by_role("heading", name=NAME))
    card.get_by_text("Card", exact=True).click()
    expect(card.locator(".prose")).to_contain_text(ATTACK, timeout=SOON)
    shown["card"] = card.locator(".prose", has_text=ATTACK).count()
    shown["reason"] = page.locator(".reason", has_text=ATTACK).count()
    opened.open("requests")
    expect(page.locator("tbody .badge.bad", has_text="<img").first).to_be_visible(timeout=SOON)
    shown["requests"] = page.locator("tbody td", has_text="<img").count()
    page.locator("tbody tr", has_text="<img").first.get_by_role("link").first.click()
    expect(page.locator(".span-name strong").first).to_have_text(ATTACK, timeout=SOON)
    page.locator(".span-head").first.click()
    shown["trace"] = page.locator(".facts:visible dt, .facts:visible dd", has_text="<img").count()
    made = page.locator(MADE_OF_TEXT).count()
    for view in (f"trace/{quote(ATTACK, safe='')}", f"requests?model={quote(ATTACK)}", f"try?model={quote(ATTACK)}"):
        opened.open(view)
        made += page.locator(MADE_OF_TEXT).count()
    assert not made, f"{made} elements were made of texts"
    return shown


def _predicted(page: Page, place: str) -> int:
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(place).first).to_contain_text("<img", timeout=SOON)
    assert not page.locator(MADE_OF_TEXT).count()
    return page.locator(place, has_text=ATTACK).count()


def _made_at(opened: Console, url: str) -> int:
    opened.page.goto(url)
    return opened.page.locator("img, script").count()


def _serious(opened: Console) -> list[str]:
    # The browser tells of every answer that is an error, too.
    return [text for text in opened.complaints if "Failed to load resource" not in text]


@row("I07", f"{len(TRAVERSALS)} paths out of the console's files: encoded, doubled, NUL, .git, source maps; links")
def files_outside(bench: Bench) -> Outcome:
    """404, or 400 where the path itself is none; nothing of any other file is in an answer, and no link is followed."""
    card = Path("/etc/passwd")
    linked = written("linked", DESCRIPTION, SOURCE)
    with guests(bench, {"linked": linked}):
        (bench.system.run_folder.parent / "models" / "linked" / "README.md").symlink_to(card)
        heads = [b"GET %b HTTP/1.1\r\n%bConnection: close\r\n\r\n" % (path.encode(), HOST) for path in TRAVERSALS]
        received = [exchange(bench.address, head, 10)[0] for head in heads]
    statuses = [status for answer in received for status in statuses_in(answer)]
    told = [path for path, answer in zip(TRAVERSALS, received, strict=True) if any(word in answer for word in INSIDES)]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "app.js").write_text("1")
        (Path(folder) / "linked.js").symlink_to(card)
        served = list(files(Path(folder)))
    wrong = unless(set(statuses) <= {400, 404} and len(statuses) == len(TRAVERSALS), counted(statuses))
    wrong += unless(not told, f"insides at {told}") + unless(served == ["app.js"], f"of a folder with a link: {served}")
    return Outcome(f"{counted(statuses)}; a link in the folder and one for a model's card: not followed", wrong=wrong)
