"""Rows I04 to I06: what another site's page reaches, in a real browser and beside it."""

from __future__ import annotations

from itertools import product
from typing import Any

import httpx

from tests.e2e.browser import Console, console
from tests.e2e.catalogue_bench import Bench, counted, row, unless
from tests.e2e.elsewhere import elsewhere
from tests.e2e.outcome import Outcome
from tests.waiting import wait_for

ORIGINS = ("null", "http://evil.example", "https://127.0.0.1", "file://")
CHANGES = (
    "/predict",
    "/v2/models/sentiment/infer",
    "/v2/repository/models/digits/unload",
    "/v2/repository/index",
    "/admin/traffic/sentiment",
)
READ = (
    "/console",
    "/docs",
    "/openapi.json",
    "/metrics",
    "/health",
    "/ready",
    "/v2",
    "/admin/traffic",
    "/console/api/about",
)
CONTENT = ("application/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
FOREIGN = (
    {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
)
ATTACKS = """
async ([gateway, changes]) => {
  const ends = [];
  const attempt = async (path, options) => {
    try { const answer = await fetch(gateway + path, options); ends.push(answer.type); } catch { ends.push("refused"); }
  };
  const body = JSON.stringify({prompt: "fine"});
  for (const path of changes) {
    for (const type of ["text/plain", "application/x-www-form-urlencoded"]) {
      await attempt(path, {method: "POST", mode: "no-cors", body, headers: {"Content-Type": type}});
    }
    for (const method of ["POST", "PUT", "PATCH", "DELETE"]) {
      await attempt(path, {method, body, headers: {"Content-Type": "application/json"}});
    }
    navigator.sendBeacon(gateway + path, new Blob([body], {type: "text/plain"}));
    await new Promise((done) => {
      const frame = Object.assign(document.createElement("iframe"), {name: "f" + ends.length});
      const form = Object.assign(document.createElement("form"),
        {action: gateway + path, method: "POST", enctype: "text/plain", target: frame.name});
      form.append(Object.assign(document.createElement("input"), {name: '{"prompt": "', value: '"}'}));
      document.body.append(frame, form);
      frame.addEventListener("load", done);
      form.submit();
    });
  }
  return ends;
}
"""
STEADY = 4
"""How many looks at the numbers have to agree: what the row before has asked may still be counted."""

READS = """
async ([gateway, paths]) => Promise.all(paths.map((path) => fetch(gateway + path).then((one) => one.text(), () => "")))
"""
FRAMES = """
async ([gateway, paths]) => {
  for (const path of paths) {
    const frame = document.createElement("iframe");
    await new Promise((done) => {
      frame.addEventListener("load", done);
      frame.src = gateway + path;
      document.body.append(frame);
    });
  }
}
"""


@row("I04", "POST, PUT, PATCH, DELETE of four types from another site; its page in real Chromium: fetch, form, beacon")
def foreign_changes(bench: Bench) -> Outcome:
    """403 for every one; no prediction is made, no rule set, no model unloaded; no cookie is ever needed or set."""
    with bench.client() as client:
        before = _settled(client)
        answers = [
            client.request(verb, path, content=b'{"prompt": "fine"}', headers={**headers, "Content-Type": content})
            for verb, path, content, headers in product(("POST", "PUT", "PATCH", "DELETE"), CHANGES, CONTENT, FOREIGN)
        ]
        with elsewhere() as site, console(bench.system.url) as opened:
            ends = _at(opened, site, ATTACKS, [bench.system.url, list(CHANGES)])
        after = _settled(client)
        control = client.post("/predict", json={"prompt": "fine"}).status_code
    statuses = [answer.status_code for answer in answers]
    wrong = unless(set(statuses) == {403}, counted(statuses)) + unless(before == after, f"{before} became {after}")
    wrong += unless(control == httpx.codes.OK, "the control was refused")
    wrong += unless(not any("set-cookie" in answer.headers for answer in answers), "a cookie was set")
    wrong += unless(set(ends) <= {"opaque", "refused"}, f"a page could read: {ends}")
    return Outcome(
        f"{counted(statuses)}; {len(ends)} fetches, {len(CHANGES)} forms and beacons changed nothing", wrong=wrong
    )


def _state(client: httpx.Client) -> tuple[Any, ...]:
    page = client.get("/metrics").text.splitlines()
    done = sorted(
        line for line in page if line.startswith("inferencehub_gateway_requests_total") and 'code="200"' in line
    )
    index = client.post("/v2/repository/index").json()
    return client.get("/admin/traffic").json(), [(one["name"], one["state"]) for one in index], done


def _settled(client: httpx.Client) -> tuple[Any, ...]:
    # The numbers of the other gateway process are half a second old.
    seen = [_state(client)]

    def same() -> bool:
        seen.append(_state(client))
        return len(seen) >= STEADY and all(state == seen[-1] for state in seen[-STEADY:])

    wait_for(same, "settled numbers", interval=0.5)
    return seen[-1]


def _at(opened: Console, site: str, script: str, argument: list[Any]) -> Any:
    opened.page.goto(site)
    return opened.page.evaluate(script, argument)


@row("I05", f"Origin: {', '.join(ORIGINS)} and the gateway's own; preflights; a foreign page reads in real Chromium")
def foreign_reads(bench: Bench) -> Outcome:
    """No answer has an Access-Control header, and the page reads nothing, while the console's own reads everything."""
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    paths = (*READ, *CHANGES)
    with bench.client() as client:
        answers = [
            client.request(verb, path, headers={"Origin": origin, **(asked if verb == "OPTIONS" else {})})
            for verb, path, origin in product(("GET", "OPTIONS", "POST"), paths, (*ORIGINS, bench.system.url))
        ]
    with elsewhere() as site, console(bench.system.url) as opened:
        read = _at(opened, site, READS, [bench.system.url, list(READ)])
        own = _at(opened, f"{bench.system.url}/console", READS, [bench.system.url, list(READ)])
    allowed = [name for answer in answers for name in answer.headers if name.startswith("access-control-")]
    wrong = unless(not allowed, f"{allowed[:3]}") + unless(not any(read), "a foreign page could read")
    wrong += unless(all(own), "the console's own page could not read")
    happened = f"{counted(answer.status_code for answer in answers)}; no Access-Control header"
    return Outcome(
        f"{happened}; foreign page read {sum(map(bool, read))} of {len(READ)}, our own {sum(map(bool, own))}",
        wrong=wrong,
    )


@row("I06", "the console and /docs in a frame of another site, in real Chromium; their headers")
def framed(bench: Bench) -> Outcome:
    """Refused by the browser for frame-ancestors 'none'; nosniff and no-referrer stand on all."""
    pages = ("/console", "/console/", "/docs")
    with bench.client() as client:
        answers = [client.get(page) for page in (*pages, "/console/main.js")]
    expected = {"x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}
    plain = [answer.url.path for answer in answers if not expected.items() <= answer.headers.items()]
    policies = [answer.headers.get("content-security-policy", "") for answer in answers]
    with elsewhere() as site, console(bench.system.url) as opened:
        _at(opened, site, FRAMES, [bench.system.url, list(pages)])
        shown = [frame.url for frame in opened.page.frames if frame.url.startswith(bench.system.url)]
        refusals = [text for text in opened.complaints if "frame-ancestors" in text]
        _at(opened, site, FRAMES, [site, ["/inside"]])
        control = [frame.url for frame in opened.page.frames if frame.url == f"{site}/inside"]
    wrong = unless(not plain, f"headers missing at {plain}") + unless(not shown, f"shown in a frame: {shown}")
    wrong += unless(all("frame-ancestors 'none'" in policy for policy in policies), f"policies {policies}")
    wrong += unless(len(refusals) == len(pages), f"refusals {opened.complaints}") + unless(bool(control), "no control")
    return Outcome(f"{len(refusals)} frames refused by the browser, the site's own shown; headers on all", wrong=wrong)
