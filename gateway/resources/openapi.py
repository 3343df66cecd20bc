"""GET /openapi.json, and GET /docs: the same as a page that needs nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import falcon
import msgspec
from falcon.asgi import Request, Response

Object = Mapping[str, Any]
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { font-size: 1rem; margin: 2rem 0 .3rem; border-top: 1px solid #8884; padding-top: 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { background: #8882; padding: .6rem; overflow-x: auto; }
b { display: inline-block; min-width: 4rem; }
td { padding: 0 1rem .2rem 0; vertical-align: top; }
:root { color-scheme: light dark; }
"""
DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{DIGEST}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


class DocumentResource:
    """GET /openapi.json."""

    def __init__(self, document: Object) -> None:
        self._data = msgspec.json.encode(document)

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer with the document."""
        response.content_type = falcon.MEDIA_JSON
        response.data = self._data

    on_head = on_get


class PageResource:
    """GET /docs."""

    def __init__(self, document: Object) -> None:
        self._data = page(document).encode()

    async def on_get(self, _: Request, response: Response) -> None:
        """Answer with the page, under a policy that lets it load nothing and run nothing."""
        response.content_type = falcon.MEDIA_HTML
        response.set_header("Content-Security-Policy", POLICY)
        response.set_header("X-Content-Type-Options", "nosniff")
        response.set_header("Referrer-Policy", "no-referrer")
        response.data = self._data

    on_head = on_get


def page(document: Object) -> str:
    """Return the document as HTML."""
    info = document["info"]
    parts = [f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['description'])}</p>"]
    parts.append('<p>For programs: <a href="/openapi.json">/openapi.json</a></p>')
    for path, operations in document["paths"].items():
        parts += [_operation(verb, path, operation) for verb, operation in operations.items()]
    parts.append("<h1>Bodies</h1>")
    parts += [_schema(name, schema) for name, schema in document["components"]["schemas"].items()]
    title = escape(info["title"])
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>'


def _operation(verb: str, path: str, operation: Object) -> str:
    lines = [f"<h2><b>{verb.upper()}</b><code>{escape(path)}</code></h2><p>{escape(operation['summary'])}</p>"]
    rows = "".join(_parameter(parameter) for parameter in operation.get("parameters", ()))
    if rows:
        lines.append(f"<table>{rows}</table>")
    lines += _bodies("takes", operation.get("requestBody", {}).get("content", {}))
    for status, answer in operation["responses"].items():
        lines += _bodies(f"answers {status}", answer.get("content", {}))
    return "".join(lines)


def _parameter(parameter: Object) -> str:
    name, where = escape(parameter["name"]), escape(parameter["in"])
    return f"<tr><td><code>{name}</code></td><td>{where}</td><td>{escape(parameter.get('description', ''))}</td></tr>"


def _bodies(word: str, content: Object) -> Iterator[str]:
    for media, body in content.items():
        schema = body.get("schema", {})
        name = schema.get("$ref", schema.get("items", {}).get("$ref", "")).rpartition("/")[2]
        link = f' <a href="#{escape(name)}">{escape(name)}</a>' if name else ""
        yield f"<div>{word} <code>{escape(media)}</code>{link}</div>"
        if body.get("example"):
            yield f"<pre>{_json(body['example'])}</pre>"


def _schema(name: str, schema: Object) -> str:
    text = escape(schema.get("description", ""))
    shown = {key: value for key, value in schema.items() if key not in {"description", "title"}}
    return f'<h2 id="{escape(name)}">{escape(name)}</h2><p>{text}</p><pre>{_json(shown)}</pre>'


def _json(value: object) -> str:
    return escape(msgspec.json.format(msgspec.json.encode(value)).decode())
