"""uvicorn's HTTP/1.1 protocol with the limits and checks that a server facing people needs.

A connection reads requests until something ends its input: a refusal, a response that says `Connection: close`, or too
many requests in a row without waiting for an answer. Nothing that arrives after that is ever parsed.
"""

from __future__ import annotations

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.http_connection import GuardedConnection, Phase
from gateway.http_direct import MOST_BYTES, DirectExchange, Pending, pending
from gateway.http_exchange import Exchange
from gateway.http_head import (
    BAD_TRAILER,
    LARGE_HEADER,
    LONG_TARGET,
    MALFORMED,
    MANY_CHUNKS,
    NEVER_TRAILERS,
    UPGRADE_WITH_BODY,
    Target,
    check_fields,
    check_length,
    check_line,
    has_body,
    read_target,
    replace_host,
)
from gateway.http_refusal import Refused
from gateway.leaving import EXCHANGE
from gateway.replies import DIRECT_ROUTES, DirectRoutes

MAX_PIPELINED = 16
FIELD_OVERHEAD = 4  # the colon, the space and the line end of a header line


class EndOfInput(Exception):
    """Nothing more is read from this connection; the response under way is its last."""


class GatewayProtocol(GuardedConnection):
    """Reads requests from one connection."""

    __slots__ = (
        "body_begun",
        "chunks",
        "direct_routes",
        "head_bytes",
        "head_fields",
        "heard",
        "max_fields",
        "max_head_bytes",
        "pending",
        "unreported_bytes",
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.heard = False
        self.unreported_bytes = 0
        self.head_bytes = 0
        self.head_fields = 0
        self.chunks = 0
        self.body_begun = False
        self.max_fields, self.max_head_bytes = self.limits.max_headers, self.limits.max_header_bytes
        self.pending: Pending | None = None
        self.direct_routes: DirectRoutes = app_state.get(DIRECT_ROUTES, {})

    # Bytes

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, unless the input of this connection has ended."""
        if self.discarding:
            self.discard(data)
            return
        self.rests_since = None
        self.heard = False
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._stop_parsing(error.__context__)
        else:
            if self.pending is not None:
                self._hand_over(self.pending)
            self._check_progress(len(data))

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:  # no upgrade is offered: what follows is the next request
                data = data[upgrade.args[0] :]
            else:
                return

    def _stop_parsing(self, reason: BaseException | None) -> None:
        if isinstance(reason, EndOfInput):
            self.discarding = True
        else:
            self.refuse(reason.refusal if isinstance(reason, Refused) else MALFORMED)

    def _check_progress(self, size: int) -> None:
        # The parser keeps an unfinished line to itself, so its size is only known from what was fed without an event.
        self.unreported_bytes = 0 if self.heard else self.unreported_bytes + size
        if self.unreported_bytes + self.head_bytes > self.limits.max_header_bytes:
            self.refuse(LARGE_HEADER)
        elif self.head_timer is None and self._awaits_bytes():
            self.arm_head_timer()

    def _awaits_bytes(self) -> bool:
        if self.phase is Phase.BODY:
            return not self.body_begun
        return self.phase is Phase.HEAD or not self.heard

    # Events of the parser

    def on_message_begin(self) -> None:
        """Start a request, unless the one before was the last of this connection."""
        if len(self.pipeline) >= MAX_PIPELINED:
            self.cycle.keep_alive = False
        if self.running is not None and not self.cycle.keep_alive:
            raise EndOfInput
        self.url = b""
        self.headers = []
        self.heard = True
        self.phase = Phase.HEAD
        self.head_bytes = self.head_fields = self.chunks = 0
        self.body_begun = False

    def on_url(self, url: bytes) -> None:
        """Collect the target, up to its limit."""
        self.heard = True
        self.url += url
        if len(self.url) > self.limits.max_target_bytes:
            raise Refused(LONG_TARGET)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Count a field and keep it, unless it is a trailer or its name could pass for another's."""
        self.heard = True
        self.head_fields += 1
        self.head_bytes += len(name) + len(value) + FIELD_OVERHEAD
        if self.head_fields > self.max_fields or self.head_bytes > self.max_head_bytes:
            raise Refused(LARGE_HEADER)
        name = name.lower()
        if self.phase is Phase.BODY:
            if name in NEVER_TRAILERS:
                raise Refused(BAD_TRAILER)
        elif b"_" not in name:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Check the header section and hand the request to the application."""
        self.heard = True
        self.disarm_head_timer()
        version, method = self.parser.get_http_version(), self.parser.get_method()
        if method == b"POST" and version == "1.1":
            self.pending = pending(self.direct_routes, self.url, self.headers, self.border.serves)
            if self.pending is not None:
                self._check_door(MOST_BYTES)
                self.phase = Phase.BODY
                return
        check_line(version, method)
        target = read_target(self.url)
        check_fields(version, self.headers, target.authority, self.border.allowed_hosts)
        length = check_length(self.headers, self.limits.max_body_bytes)
        if length != 0:
            self._check_door(length or 0)
        if self.parser.should_upgrade() and has_body(self.headers):
            raise Refused(UPGRADE_WITH_BODY)
        self.phase = Phase.BODY
        self._begin_exchange(version, method, target)

    def _check_door(self, length: int) -> None:
        refusal = self.border.door.refusal(length)
        if refusal is not None:
            raise Refused(refusal)

    def _hand_over(self, request: Pending) -> None:
        # The rest of its body will come later, so the application reads it, with its deadline.
        self.pending = None
        version, method = self.parser.get_http_version(), self.parser.get_method()
        self._begin_exchange(version, method, read_target(self.url))
        if request.body:
            self.on_body(request.body)

    def _begin_exchange(self, version: str, method: bytes, target: Target) -> None:
        if target.authority:
            replace_host(self.headers, target.authority)
        self.scope = {  # type: ignore[typeddict-item]  # the rest follows in _describe
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "server": self.server,
            "client": self.client,
            "scheme": "http",
            "root_path": self.root_path,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }
        self._describe(version, method, target)
        exchange = self._exchange(version)
        self.scope[EXCHANGE] = exchange  # type: ignore[literal-required]  # an extension of our own
        self._enqueue(exchange)

    def _describe(self, version: str, method: bytes, target: Target) -> None:
        self.scope["http_version"] = version
        self.scope["method"] = method.decode("ascii")
        self.scope["path"] = self.root_path + target.path
        self.scope["raw_path"] = self.root_path.encode("ascii") + target.raw_path
        self.scope["query_string"] = target.query

    def _exchange(self, version: str) -> Exchange:
        return Exchange(
            scope=self.scope,
            transport=self.line,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=version == "1.1" and b"expect" in dict(self.headers),
            keep_alive=version == "1.1" and self.keeps_alive(wanted=bool(self.parser.should_keep_alive())),
            on_response=self.on_response_complete,
            door=self.border.door,
        )

    def keeps_alive(self, *, wanted: bool) -> bool:
        """Tell whether the connection outlives the next answer, where its request wants that."""
        return wanted and not self.border.draining and not self.border.door.is_tight

    def _enqueue(self, exchange: Exchange | DirectExchange) -> None:
        self.cycle = exchange
        if self.is_answering():
            self.flow.hold_reading()
            self.pipeline.appendleft((exchange, self.app))  # type: ignore[arg-type]  # uvicorn knows only its own kind
        else:
            self.start(exchange)

    def on_chunk_header(self) -> None:
        """Count a chunk; thousands of tiny ones cost time out of all proportion to their bytes."""
        self.heard = True
        self.chunks += 1
        if self.chunks > self.limits.max_chunks:
            raise Refused(MANY_CHUNKS)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body until the application asks for it."""
        self.heard = True
        if not self.body_begun:
            self.body_begun = True
            self.disarm_head_timer()
        if self.pending is not None:
            self.pending.body += body
            return
        if isinstance(self.cycle, Exchange):
            self.cycle.hold(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self.heard = True
        self.phase = Phase.IDLE
        self.disarm_head_timer()
        if self.pending is None:
            super().on_message_complete()
        else:
            request, self.pending = self.pending, None
            request.keeps_alive = bool(self.parser.should_keep_alive())  # only now: afterwards it knows no more
            self.answer_directly(request)

    def answer_directly(self, request: Pending) -> None:
        """Have a request answered that has arrived whole."""
        keep_alive = self.keeps_alive(wanted=request.keeps_alive)
        self._enqueue(DirectExchange(request, self.line, self.on_response_complete, keep_alive=keep_alive))
