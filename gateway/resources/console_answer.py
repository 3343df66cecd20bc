"""How the console's data is answered: JSON that no other site reads and no cache keeps."""

from __future__ import annotations

from typing import Any

import falcon
import msgspec
from falcon.asgi import Response

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def protect(response: Response) -> None:
    """Set the headers of every answer of the console's routes for data."""
    for header, value in HEADERS.items():
        response.set_header(header, value)


def answer(response: Response, value: Any) -> None:
    """Fill a response with a document."""
    protect(response)
    response.content_type = falcon.MEDIA_JSON
    response.data = msgspec.json.encode(value)
