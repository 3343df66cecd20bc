"""What another site's page makes a browser send is turned away, whatever the route."""

from __future__ import annotations

import pytest
from falcon.testing import DEFAULT_HOST, ASGIConductor

from tests.gateway.fake_worker import FakeWorker

CROSS = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
INDEX = "/v2/repository/index"


@pytest.mark.parametrize(
    "headers",
    [
        CROSS,
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:9999"},
    ],
    ids=str,
)
@pytest.mark.parametrize("content", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
async def test_a_foreign_page_changes_nothing(
    client: ASGIConductor, worker: FakeWorker, headers: dict[str, str], content: str
) -> None:
    """A form or script of another origin gets 403 for predictions, unloads and searches; no model is asked."""
    for path in ("/predict", "/v2/models/sentiment/infer", "/v2/repository/models/sentiment/unload", INDEX):
        sent = {"Content-Type": content, **headers}
        answer = await client.simulate_post(path, body=b"{}", headers=sent)
        assert (answer.status_code, "access-control-allow-origin" in answer.headers) == (403, False)
    assert (await client.simulate_get("/console/api/workers", headers=headers)).status_code == 403
    assert worker.calls == []


async def test_a_link_from_elsewhere_opens_the_page(client: ASGIConductor) -> None:
    """Following a link is reading a page, and no page can read what another one shows."""
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert (await client.simulate_get("/console", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
        {"Origin": f"http://{DEFAULT_HOST}", "Sec-Fetch-Site": "same-origin"},
    ],
    ids=str,
)
async def test_programs_and_the_console_itself_pass(client: ASGIConductor, headers: dict[str, str]) -> None:
    """Curl sends none of these headers, our own page those of its own origin."""
    sent = {"Content-Type": "application/json", **headers}
    answer = await client.simulate_post(INDEX, body=b"", headers=sent)
    assert answer.status_code == 503, "no worker is there to tell an index"
