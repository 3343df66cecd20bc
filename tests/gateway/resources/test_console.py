"""The page and its files: what is answered, under which policy, and that no text of others can become markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from falcon.testing import ASGIConductor

from gateway.resources.console import FOLDER, PAGE, POLICY, files

HANDLERS = re.compile(r"\bon[a-z]+$")
MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTML|DOMParser"
    r"|createContextualFragment|javascript:|https?://(?!www\.w3\.org/2000/svg)"
)


class Page(HTMLParser):
    """Collects what a page loads and whether anything in it is inline."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        given = dict(attrs)
        self.inline += [name for name in given if name == "style" or HANDLERS.match(name)]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        found = given.get("src") or (given.get("href") if tag == "link" else None)
        if found:
            self.loaded.append(found)


async def test_the_page_comes_under_a_strict_policy(client: ASGIConductor) -> None:
    """Nothing but its own files, no frame, no sniffing, no referrer."""
    answer = await client.simulate_get("/console")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert answer.headers["content-security-policy"] == POLICY
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "frame-ancestors 'none'"} <= set(
        POLICY.split("; ")
    )
    assert "unsafe" not in POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in answer.headers


async def test_a_slash_at_the_end_opens_the_page_too(client: ASGIConductor) -> None:
    """Whoever types /console/ gets the same page under the same policy."""
    plain, slash = await client.simulate_get("/console"), await client.simulate_get("/console/")
    assert (slash.status_code, slash.content) == (200, plain.content)
    assert slash.headers["content-security-policy"] == POLICY


async def test_everything_that_the_page_loads_is_there_and_nothing_is_inline(client: ASGIConductor) -> None:
    """Styles, scripts and their imports are files of ours that are answered with their own types."""
    page = Page()
    page.feed((FOLDER / PAGE).read_text())
    assert page.inline == []
    imported = {
        f"/console/{name}"
        for file in FOLDER.glob("*.js")
        for name in re.findall(r'from "\./([^"]+)"', file.read_text())
    }
    assert imported
    for path in {*page.loaded, *imported}:
        answer = await client.simulate_get(path)
        assert answer.status_code == 200, path
        expected = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}[path.rpartition(".")[2]]
        assert answer.headers["content-type"] == expected


def test_no_file_makes_markup_from_text() -> None:
    """No script of the page uses what parses text as HTML or code, and none names another origin."""
    found = [
        (file.name, MARKUP.findall(file.read_text())) for file in sorted(FOLDER.iterdir()) if file.suffix != ".svg"
    ]
    assert [each for each in found if each[1]] == []


@pytest.mark.parametrize(
    "path",
    [
        "/console/../app.py",
        "/console/..%2fapp.py",
        "/console/%2e%2e/app.py",
        "/console/..%5capp.py",
        "/console/.git",
        "/console/main.js.map",
        "/console/index.html%00.js",
        "/console//etc/passwd",
        "/console//",
        "/console/api",
    ],
)
async def test_no_other_path_is_answered(client: ASGIConductor, path: str) -> None:
    """Traversal, hidden files, source maps and NUL are 404 with the usual sentence."""
    answer = await client.simulate_get(path)
    assert answer.status_code == 404
    assert "error" in answer.json


def test_links_and_other_kinds_of_files_are_left_out(tmp_path: Path) -> None:
    """A link in the folder, to wherever, is not answered, nor is a folder or a file of another kind."""
    (tmp_path / "page.js").write_text("1")
    (tmp_path / "secret.js").symlink_to("/etc/passwd")
    (tmp_path / "folder.js").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    assert list(files(tmp_path)) == ["page.js"]


async def test_what_a_browser_has_is_not_sent_again(client: ASGIConductor) -> None:
    """The same tag is answered with 304 and no body, another one with the file."""
    first = await client.simulate_get("/console/main.js")
    again = await client.simulate_get("/console/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await client.simulate_get("/console/main.js", headers={"If-None-Match": '"x"'})).content == first.content


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_the_console_takes_no_change(client: ASGIConductor, method: str) -> None:
    """The page and its data are read, never written."""
    for path in ("/console", "/console/api/workers", "/console/api/traces"):
        assert (await client.simulate_request(method, path)).status_code == 405
