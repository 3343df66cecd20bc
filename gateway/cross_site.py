"""Turns away what another site's page makes a browser send, on every route.

A prediction that is answered without Falcon has neither of these headers (`http_direct.SPECIAL`). Source: Fetch
Metadata Request Headers (W3C), RFC 6454.
"""

from __future__ import annotations

from urllib.parse import urlsplit

import falcon
from falcon.asgi import Request, Response

READING = ("GET", "HEAD")
SITE, MODE = "Sec-Fetch-Site", "Sec-Fetch-Mode"
FOREIGN = "A page of another origin made this request; ask from a page of this gateway, or without a browser"


class CrossSite:
    """A visitor may follow a link from elsewhere to a page; nothing else may come from another origin."""

    async def process_request(self, request: Request, _: Response) -> None:
        """Raise 403 for a foreign page's request; programs send none of these headers and pass."""
        site, origin = request.get_header(SITE), request.get_header("Origin")
        is_foreign = site in {"cross-site", "same-site"} or (
            origin is not None and urlsplit(origin).netloc != request.get_header("Host")
        )
        if is_foreign and not (request.method in READING and request.get_header(MODE) == "navigate"):
            raise falcon.HTTPForbidden(title=FOREIGN)
