"""The OpenAPI document says what the gateway answers, and so does the page made of it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from falcon.inspect import inspect_routes
from falcon.testing import ASGIConductor

from gateway.app import create_app
from gateway.openapi import document
from gateway.resources.openapi import page
from inference_core.settings import Settings

ALIAS = {"/v2/"}
"""Of a path that is in the document."""

OF_THE_CONSOLE = "/console/"
"""Below it lies what only that page asks, which changes with it."""


def test_every_route_is_described(settings: Settings) -> None:
    """What the application answers is in the document, by path and verb, and nothing else is."""
    answered = {
        (route.path, method.method.lower())
        for route in inspect_routes(create_app(settings))
        for method in route.methods
        if not method.internal and method.method != "HEAD" and route.path not in ALIAS
        if not route.path.startswith(OF_THE_CONSOLE)
    }
    described = {(path, verb) for path, verbs in document("1")["paths"].items() for verb in verbs}
    assert described == answered


def references(value: Any) -> set[str]:
    """Return every reference in a document."""
    if isinstance(value, list):
        return set().union(*map(references, value))
    if not isinstance(value, dict):
        return set()
    own = {value["$ref"]} if "$ref" in value else set()
    return own.union(*map(references, value.values()))


def test_references_lead_somewhere() -> None:
    """Each names a schema that is there, and each schema is used."""
    whole = document("1")
    names = {reference.rpartition("/")[2] for reference in references(whole)}
    assert names == set(whole["components"]["schemas"])


def test_operations_have_names_of_their_own() -> None:
    """Generated clients need them."""
    names = [operation["operationId"] for verbs in document("1")["paths"].values() for operation in verbs.values()]
    assert len(set(names)) == len(names)


def test_paths_declare_their_parameters() -> None:
    """Each variable of a path is a parameter, and the other way round."""
    for path, verbs in document("1")["paths"].items():
        for operation in verbs.values():
            found = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert found == set(re.findall(r"\{(\w+)\}", path))


async def test_both_forms_are_served(client: ASGIConductor) -> None:
    """JSON for programs and a page for people; the page may load nothing and run nothing."""
    answer = await client.simulate_get("/openapi.json")
    assert (answer.headers["content-type"], answer.json["openapi"]) == ("application/json", "3.1.0")
    answer = await client.simulate_get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


class Tags(HTMLParser):
    """Collects tags and what they point to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.targets: set[str] = set()
        self.places: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append(tag)
        found = dict(attributes)
        assert not {"src", "style", "onclick", "onload"} & found.keys()
        self.targets |= {str(found["href"])} if "href" in found else set()
        self.places |= {f"#{found['id']}"} if "id" in found else set()


def test_the_page_needs_nothing_from_elsewhere() -> None:
    """No script, no image, no style of another's; every link leads to a place of this server."""
    seen = Tags()
    seen.feed(page(document("1")))
    assert not {"script", "img", "link", "iframe"} & set(seen.tags)
    assert seen.targets <= seen.places | {"/openapi.json"}


@pytest.mark.parametrize("text", ["<script>", '"><b onload="x">'])
def test_the_page_escapes_what_it_shows(text: str) -> None:
    """Whatever a description says, it stays text."""
    whole = document("1")
    whole["info"]["description"] = text
    whole["paths"]["/health"]["get"]["summary"] = text
    assert text not in page(whole)
