"""A tiny Falcon application behind real servers: what the HTTP layer lets through must show in its answers."""

from __future__ import annotations

import asyncio

import falcon
import falcon.asgi

BODY_LIMIT = 1024 * 1024
BODY_DEADLINE = 0.5
BIG_ANSWER = 10 * 1024 * 1024


class Greeting:
    """Answers GET with what the application saw of the request."""

    async def on_get(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Return what identifies the request, as JSON."""
        resp.media = {"path": req.path, "host": req.host, "scheme": req.scheme, "client": req.remote_addr}
        resp.media["headers"] = dict(req.headers)


class Echo:
    """Reads the body within a limit and a deadline."""

    async def on_post(self, req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Return the body; 413 beyond the limit, 408 beyond the deadline."""
        if (req.content_length or 0) > BODY_LIMIT:
            raise falcon.HTTPContentTooLarge
        try:
            async with asyncio.timeout(BODY_DEADLINE):
                resp.data = await req.stream.read(BODY_LIMIT)
        except TimeoutError as error:
            raise falcon.HTTPError(falcon.HTTP_408) from error


class Refusing:
    """Answers before it reads anything."""

    async def on_post(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Return 413 without looking at the body."""
        resp.status = falcon.HTTP_413
        resp.media = {"error": "refused unread"}


class Big:
    """A long answer."""

    async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Return ten megabytes."""
        resp.data = bytes(BIG_ANSWER)


class Gate:
    """Holds requests until somebody opens it, in the same process."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()
        self.loop: asyncio.AbstractEventLoop | None = None

    def open(self) -> None:
        """Let all requests through, now and later; may be called from any thread once a request waits."""
        assert self.loop is not None, "no request waits at the gate"
        self.loop.call_soon_threadsafe(self.opened.set)

    async def on_get(self, _req: falcon.asgi.Request, resp: falcon.asgi.Response) -> None:
        """Wait for the gate, then return 200."""
        self.loop = asyncio.get_running_loop()
        self.entered.set()
        await self.opened.wait()
        resp.text = "opened"


def build_app(gate: Gate) -> falcon.asgi.App[falcon.asgi.Request, falcon.asgi.Response]:
    """Return the application."""
    built = falcon.asgi.App()
    routes = {"/": Greeting(), "/echo": Echo(), "/refuse": Refusing(), "/big": Big(), "/gate": gate}
    for path, resource in routes.items():
        built.add_route(path, resource)
    return built


app = build_app(Gate())
