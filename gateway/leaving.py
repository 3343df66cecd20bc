"""Ends the work for a client that has left: nobody reads the answer, and others wait for the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from inference_core.errors import ClientLeft

EXCHANGE = "inferencehub.exchange"
"""The key of the ASGI scope under which our server has the request's Exchange; other servers have none."""


class Leaving(Protocol):
    """What tells that a client has left: it calls `on_leave`, if there is one, once."""

    on_leave: Callable[[], object] | None
    disconnected: bool


@contextmanager
def until_client_leaves(scope: Mapping[str, Any]) -> Iterator[None]:
    """Cancel what is awaited inside once the client leaves; raises ClientLeft then."""
    exchange: Leaving | None = scope.get(EXCHANGE)
    task = asyncio.current_task()
    if exchange is None or task is None:
        yield
        return
    exchange.on_leave = task.cancel
    try:
        if exchange.disconnected:
            raise ClientLeft("The client left before its answer was there.")
        yield
    except asyncio.CancelledError:
        if not exchange.disconnected:
            raise
        task.uncancel()
        raise ClientLeft("The client left before its answer was there.") from None
    finally:
        exchange.on_leave = None
