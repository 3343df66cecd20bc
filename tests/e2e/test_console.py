"""The console in a real browser, on a real system: what a person does there works, and what an attacker does not."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from playwright.sync_api import expect

from otel.store.query import StoredTraces
from tests import web
from tests.e2e.browser import Console, console
from tests.e2e.hostile_model import ATTACK, NAME, add_hostile
from tests.e2e.hostile_trace import store_hostile
from tests.e2e.stored_halves import Halves
from tests.e2e.system import System
from tests.otel.store.made import spans_of
from tests.waiting import wait_for

SOON = 20_000
AT_ONCE = 64
VIEWS = ("try", "live", "requests", "trace", "models", "workers")
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Start a system that has the hostile model beside the sample ones."""
    with tempfile.TemporaryDirectory(prefix="hub-", dir="/tmp") as folder:
        repository = Path(folder) / "models"
        add_hostile(repository)
        inference = {"repositories": [str(repository), "model_service/models"], "mock_latency": 0.5}
        running = System(Path(folder), inference=inference)
        try:
            running.start()
            yield running
        finally:
            running.stop()


@pytest.fixture(scope="module")
def shared(system: System) -> Iterator[Console]:
    """Open one browser for the module."""
    with console(system.url) as opened:
        yield opened


@pytest.fixture
def opened(shared: Console) -> Iterator[Console]:
    """Have the browser watched: no dialog, no error of a script, nothing that the policy had to stop."""
    shared.complaints.clear()
    yield shared
    assert shared.complaints == []
    assert shared.violations() == []


def test_a_drawn_digit_is_recognised_and_its_waterfall_opens(opened: Console) -> None:
    """A stroke of the pointer is a 1; the answer leads to the trace of both programs."""
    page = opened.page
    opened.open("try?model=digits")
    box = page.locator("canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"]
    page.mouse.move(x, y + 20)
    page.mouse.down()
    page.mouse.move(x, y + box["height"] - 20, steps=12)
    page.mouse.up()
    verdict = page.locator(".verdict strong")
    expect(verdict).to_have_text("1", timeout=SOON)
    expect(page.locator(".chance")).to_have_count(10)
    expect(page.locator(".answer .span-name strong").last).to_have_text("respond", timeout=SOON)
    expect(page.locator(".answer .span-name strong", has_text="compute")).to_be_visible()
    page.locator(".answer dd a").nth(1).click()
    expect(page).to_have_url(re.compile(r"#/trace/[0-9a-f]{32}$"))
    expect(page.get_by_role("heading", name="POST /v2/models/{model}/infer")).to_be_visible(timeout=SOON)
    page.get_by_role("button", name=re.compile("^compute, inference-worker")).click()
    expect(page.locator(".facts:visible dt").first).to_be_visible()


def test_a_text_is_judged_and_its_curl_is_the_same_request(opened: Console) -> None:
    """The prompt goes to the model as it was typed; what the page shows for curl contains it."""
    page = opened.page
    opened.open("try?model=sentiment")
    page.get_by_label("Text", exact=True).last.fill("It's wonderful")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(".verdict strong")).to_be_visible(timeout=SOON)
    page.get_by_text("The same with curl").click()
    expect(page.locator(".code-block pre").first).to_contain_text("It'\\''s wonderful")


def test_raw_json_and_a_refusal_are_shown_as_they_are(opened: Console) -> None:
    """A body that is none gets the gateway's own sentence."""
    page = opened.page
    opened.open("try?model=sentiment")
    page.get_by_text("JSON", exact=True).click()
    page.get_by_label("Body in the Open Inference Protocol").fill('{"inputs": 3}')
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(".failure")).to_be_visible(timeout=SOON)
    opened.complaints[:] = [each for each in opened.complaints if "400" not in each]  # the browser tells of it, too


def test_a_failed_request_is_found_by_its_id(system: System, opened: Console) -> None:
    """A request that missed its deadline is among the failed ones, and its row opens its trace."""
    headers = {**JSON, "X-Request-Id": "will-fail", "X-Request-Timeout": "0.2"}
    assert web.post(f"{system.url}/predict", json={"features": [1.0]}, headers=headers).status_code == 504
    stored = system.stored()
    wait_for(lambda: [one for one in stored.of_request("will-fail") if one.summary.failed], "the failed trace", 30)
    page = opened.page
    opened.open("requests")
    page.get_by_label("Request or trace id").fill("will-fail")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="will-fail").click()
    expect(page.get_by_role("heading", name="POST /predict")).to_be_visible(timeout=SOON)
    expect(page.locator(".summary .badge.bad")).to_have_text("504")


def test_a_page_that_was_opened_early_shows_the_rest_when_it_comes(system: System, opened: Console) -> None:
    """Of a trace of which only the worker's half is stored, the page shows that, and then all of it."""
    halves = Halves(system, number=77)
    halves.store_workers()
    opened.open(f"trace/{halves.trace_id}")
    expect(opened.page.get_by_role("heading", name="call")).to_be_visible(timeout=SOON)
    halves.store_gateways()
    expect(opened.page.get_by_role("heading", name="POST /predict")).to_be_visible(timeout=SOON)
    expect(opened.page.locator(".span-head")).to_have_count(5)


def test_a_request_leads_to_its_batch_and_back(system: System, opened: Console) -> None:
    """From the waterfall of a request that shared a batch a link opens the batch's, and one there the request's."""
    request_id, trace_id = _shared_a_batch(system)
    page = opened.page
    opened.open("trace")
    page.get_by_role("searchbox").fill(request_id)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", name="POST /predict")).to_be_visible(timeout=SOON)
    page.get_by_role("button", name=re.compile("^compute, inference-worker")).click()
    page.locator(".facts:visible").get_by_role("link", name=re.compile("^Trace ")).click()
    expect(page.get_by_role("heading", name="batch v1-mock")).to_be_visible(timeout=SOON)
    page.get_by_role("button", name=re.compile("^batch v1-mock, inference-worker")).click()
    page.locator(f".facts:visible a[href='#/trace/{trace_id}']").click()
    expect(page).to_have_url(re.compile(f"#/trace/{trace_id}$"))
    expect(page.get_by_role("heading", name="POST /predict")).to_be_visible(timeout=SOON)
    expect(page.locator(f".summary code[title='{request_id}']")).to_be_visible()


def _shared_a_batch(system: System) -> tuple[str, str]:
    """Have slow requests answered at once, and return request id and trace id of one whose batch is stored, too."""
    ids = [f"{0x66000 + number:032x}" for number in range(AT_ONCE)]

    def ask(client: httpx.Client, trace: str) -> int:
        headers = {**JSON, "X-Request-Id": f"shares-{trace[-4:]}", "traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
        return client.post("/predict", json={"features": [1.0]}, headers=headers).status_code

    # One client: each takes a processor's time to make, and those that come one by one find a free place alone.
    with web.client(base_url=system.url, timeout=20) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        assert set(pool.map(partial(ask, client), ids)) == {200}
    stored = system.stored()
    shared = wait_for(lambda: [trace for trace in ids if _is_whole(stored, trace)], "a batch's own trace", 30)
    return f"shares-{shared[0][-4:]}", shared[0]


def _is_whole(stored: StoredTraces, trace: str) -> bool:
    # Gateway and worker export by themselves, each once a second.
    whole = stored.trace(trace)
    spans = list(spans_of(whole)) if whole is not None else []
    links = [link for span in spans for link in span.links]
    has_batch = any(stored.trace(link.trace_id.hex()) is not None for link in links)
    return has_batch and any(span.name == "POST /predict" for span in spans)


def test_live_numbers_follow_what_is_asked(system: System, opened: Console) -> None:
    """The rate of the whole machine rises with requests, whichever process answered them."""
    opened.open("live")
    expect(opened.page.locator(".badge", has_text="live")).to_be_visible(timeout=SOON)

    def is_told() -> bool:
        for _ in range(5):
            assert web.post(f"{system.url}/predict", json={"prompt": "fine"}).status_code == 200
        text = opened.page.locator(".tile strong").first.text_content(timeout=SOON)
        return float(text or 0) > 0

    wait_for(is_told, "a rate above zero", 30, interval=0.2)
    expect(opened.page.get_by_role("cell", name="Whole request")).to_be_visible(timeout=SOON)


def test_a_worker_that_was_killed_is_told_with_its_cause(system: System, opened: Console) -> None:
    """The slot is ready again, and the exit stands below with its signal."""
    victim = system.pids("inference")[0]
    Path(f"/proc/{victim}").stat()
    system.control("signal", "KILL", "inference:inference-0")
    wait_for(lambda: system.pids("inference")[0] != victim, "another process in the slot", 30)
    opened.open("workers")
    page = opened.page
    expect(page.locator(".badge.bad", has_text="SIGKILL")).to_be_visible(timeout=SOON)
    expect(page.locator(".slot .badge.good")).to_have_count(2, timeout=SOON)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_view_has_names_for_all_it_shows(opened: Console, view: str, scheme: str) -> None:
    """Each control and chart has a name, each page one main heading, in both schemes, also when narrow."""
    page = opened.page
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    opened.open(view)
    expect(page.locator(".loading")).to_have_count(0, timeout=SOON)
    assert opened.unnamed() == []
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    page.set_viewport_size({"width": 400, "height": 800})
    wide = page.evaluate("document.documentElement.scrollWidth")
    page.set_viewport_size({"width": 1240, "height": 860})
    assert wide <= 400, "nothing sticks out of a narrow page"


def test_the_keyboard_is_enough(opened: Console) -> None:
    """From the skip link to a digit that is inked, predicted and read, without a pointer; the theme is remembered."""
    page = opened.page
    opened.open("try?model=digits")
    page.keyboard.press("Tab")
    expect(page.locator(":focus")).to_have_text("Skip to the content")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.locator(".cells button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    expect(page.locator(":focus")).to_have_attribute("aria-label", "Row 1, column 2: 8")
    expect(page.locator(".verdict strong")).to_be_visible(timeout=SOON)
    page.get_by_role("radio", name="Auto").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.evaluate("localStorage.clear()")


def test_hostile_texts_of_a_model_stay_texts(opened: Console) -> None:
    """A label and a card that are markup are shown as they were written."""
    page = opened.page
    opened.open(f"try?model={NAME}")
    page.get_by_role("button", name="Predict").click()
    expect(page.locator(".verdict strong")).to_have_text(ATTACK, timeout=SOON)
    opened.open("models")
    card = page.locator(".card", has=page.get_by_role("heading", name=NAME))
    card.get_by_text("Card", exact=True).click()
    expect(card.locator(".prose")).to_contain_text(ATTACK, timeout=SOON)
    assert page.locator("main img, main script, main a[href^='javascript']").count() == 0


def test_hostile_texts_in_traces_stay_texts(system: System, opened: Console) -> None:
    """Names, ids, statuses, attributes and errors of spans that anybody on this machine may send are shown as texts."""
    store_hostile(system)
    page = opened.page
    opened.open("requests")
    expect(page.locator("tbody .badge.bad", has_text="<img").first).to_be_visible(timeout=SOON)
    page.locator("tbody tr", has_text="<img").first.get_by_role("link").first.click()
    expect(page.locator(".span-name strong").first).to_have_text(ATTACK, timeout=SOON)
    page.locator(".span-head").first.click()
    expect(page.locator(".facts:visible dt", has_text="<img").first).to_be_visible()
    assert page.locator("main img, main script").count() == 0


@pytest.mark.parametrize("view", [f"trace/{quote(ATTACK, safe='')}", f"requests?model={quote(ATTACK)}", quote(ATTACK)])
def test_hostile_addresses_open_nothing(opened: Console, view: str) -> None:
    """What stands in the address of a page is a text, too."""
    opened.open(view)
    expect(opened.page.locator(".empty:visible, tbody:visible, .waterfall").first).to_be_visible(timeout=SOON)
    assert opened.page.locator("main img, main script").count() == 0


def test_another_sites_page_gets_nothing(system: System) -> None:
    """DNS rebinding, a foreign form and a foreign script are refused at the console's routes as everywhere."""
    for path in ("/console", "/console/api/traces", "/console/api/live"):
        assert web.get(system.url + path, headers={"Host": "rebind.example"}).status_code == 421
    foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert web.get(f"{system.url}/console/api/live", headers=foreign).status_code == 403
    answer = web.post(f"{system.url}/v2/models/{NAME}/infer", content="{}", headers={**foreign, **JSON})
    assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (403, False)


def test_a_listener_does_not_keep_a_process_from_leaving(system: System) -> None:
    """With live pages open, both gateway processes restart as quickly as without."""
    with web.client(timeout=30) as client, client.stream("GET", f"{system.url}/console/api/live") as stream:
        events = stream.iter_lines()
        assert any(line.startswith("data: ") for line in events)
        began = time.monotonic()
        system.control("restart", "gateway:*")
        assert [line for line in events if line][-1:] != [""], "the stream ends as HTTP says"
        assert time.monotonic() - began < 10
    wait_for(lambda: web.get(f"{system.url}/health").status_code == 200, "the gateway's return")
