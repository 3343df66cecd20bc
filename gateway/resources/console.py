"""GET /console: a page for people, and the files that it is made of.

The files are read once, when the process starts, and answered by their names in that list: no path is ever opened for a
client. The policy lets the page load its own files and talk to its own origin, and nothing else; markup cannot be made
from text, even by mistake (Trusted Types).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import falcon
import msgspec
from falcon.asgi import Request, Response

FOLDER = Path(__file__).resolve().parents[1] / "console"
MEDIA = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
RULES = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
)
POLICY = "; ".join(RULES)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-cache",
}
PAGE = "index.html"


class File(msgspec.Struct, frozen=True):
    """One file of the page; `tag` changes with its content."""

    data: bytes
    media: str
    tag: str


def files(folder: Path = FOLDER) -> Mapping[str, File]:
    """Return the files of the page by name; other kinds of files, folders and links are left out."""
    found = sorted(path for path in folder.iterdir() if path.suffix in MEDIA and path.is_file())
    return {path.name: _file(path) for path in found if not path.is_symlink()}


class ConsoleResource:
    """GET /console, with or without a slash at its end, and /console/{name}."""

    def __init__(self, found: Mapping[str, File]) -> None:
        self._files = found

    async def on_get(self, request: Request, response: Response, name: str = PAGE) -> None:
        """Answer with a file, with 304 where the browser has it, with 404 for any other name."""
        file = self._files.get(name)
        if file is None:
            raise falcon.HTTPNotFound
        for header, value in HEADERS.items():
            response.set_header(header, value)
        response.set_header("ETag", file.tag)
        if request.get_header("If-None-Match") == file.tag:
            response.status = falcon.HTTP_304
            return
        response.content_type = file.media
        response.data = file.data

    on_head = on_get


def _file(path: Path) -> File:
    data = path.read_bytes()
    return File(data, MEDIA[path.suffix], f'"{hashlib.sha256(data).hexdigest()[:16]}"')
