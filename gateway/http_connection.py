"""The life of one client connection: who may open it, how long it may wait, and how it ends.

It ends gently whenever a response is on its way: the sending side is closed, and what still arrives is thrown away for
a bounded time, so that no reset destroys the response before the client has read it (RFC 9112, section 9.6).
"""

from __future__ import annotations

import asyncio
import enum
from functools import lru_cache
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway.door import Door
from gateway.http_direct import DirectExchange
from gateway.http_exchange import Exchange, HoldableFlow, Line
from gateway.http_head import REMEMBERED, host_name
from gateway.http_refusal import Refusal, answer, log_refusal
from gateway.http_repeats import Repeats
from inference_core.settings import Gateway

LINGER_SECONDS = 1.0
FULL = Refusal(503, "The server has as many connections as it takes; try again in a second.", ((b"retry-after", b"1"),))
SILENT_BODY = Refusal(408, "Send the body right after the header section.")
SLOW_HEADER = Refusal(408, "Send the whole header section without pausing.")


class Phase(enum.Enum):
    """How much of the incoming request is known."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()


class Border:
    """What all connections of a process share: limits, the door, and whether the process is leaving."""

    def __init__(self, limits: Gateway) -> None:
        self.limits = limits
        self.allowed_hosts = frozenset(host.lower().encode("ascii") for host in limits.allowed_hosts)
        self.door = Door(limits)
        self.repeats = Repeats()
        self.serves = lru_cache(maxsize=REMEMBERED)(self._serves)
        self.draining = False
        self.turned_away = 0

    def _serves(self, authority: bytes) -> bool:
        return host_name(authority) in self.allowed_hosts


class GuardedConnection(HttpToolsProtocol):
    """A connection with a cap, deadlines and a gentle end; reading requests from it is the subclass's part.

    `discarding` means that nothing more is parsed, `lingering` that nothing more is sent either.
    """

    # Beyond thirty attributes CPython 3.11 stops sharing the keys of instance dictionaries, and all access gets slower;
    # uvicorn uses up nearly all of them.
    __slots__ = (
        "close_timer",
        "discarded_bytes",
        "discarding",
        "head_timer",
        "limits",
        "line",
        "lingering",
        "phase",
        "rests_since",
        "running",
        "waiting_refusal",
        "write_timer",
    )

    border: Border
    flow: HoldableFlow
    cycle: Exchange | DirectExchange  # type: ignore[assignment]  # uvicorn knows only its own kind

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = self.border.limits
        self.phase = Phase.IDLE
        self.rests_since: float | None = None
        self.running: Exchange | DirectExchange | None = None
        self.waiting_refusal: Refusal | None = None
        self.discarding = False
        self.discarded_bytes = 0
        self.lingering = False
        self.head_timer: asyncio.TimerHandle | None = None
        self.write_timer: asyncio.TimerHandle | None = None
        self.close_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Take a connection, or answer 503 beyond the cap and nothing at all far beyond it."""
        super().connection_made(transport)
        self.flow = HoldableFlow(transport)
        self.line = Line(transport, self._linger).as_transport()
        surplus = len(self.connections) - self.limits.max_connections
        if surplus <= 0:
            self.arm_head_timer()
        elif surplus <= max(1, self.limits.max_connections // 4):
            self._answer(FULL)
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request of this connection, not only the newest, that nobody listens."""
        for timer in (self.head_timer, self.write_timer, self.close_timer):
            if timer is not None:
                timer.cancel()
        self._unset_keepalive_if_required()
        self._drop_pipeline()
        if self.running is not None and not self.running.is_over():
            self.running.abandon()
        if isinstance(self.cycle, DirectExchange):
            self.cycle = None  # type: ignore[assignment]  # uvicorn would wake the application of its own kind
        super().connection_lost(exc)
        # Both lead back here: with them, each connection would stay in memory until the collector comes by.
        self.running = None
        del self.line

    def shutdown(self) -> None:
        """Begin to leave: an open request is answered with `Connection: close`, an idle connection keeps its timer.

        A client may already be sending on an idle connection, so closing it now would lose that request.
        """
        self.border.draining = True
        if self.is_answering() and not self.cycle.response_started:
            self.cycle.keep_alive = False
        if self.head_timer is not None:
            self.disarm_head_timer()
            self.arm_head_timer()

    def pause_writing(self) -> None:
        """Give the client `write_deadline` seconds to read what is waiting for it."""
        super().pause_writing()
        self.flow.hold_reading()  # its next requests would only add answers that it does not read
        if self.write_timer is None:
            self.write_timer = self.loop.call_later(self.limits.write_deadline, self.transport.abort)

    def resume_writing(self) -> None:
        """Forget the deadline once the client has read."""
        super().resume_writing()
        if not self.pipeline:
            self.flow.release_reading()
        if self.write_timer is not None:
            self.write_timer.cancel()
            self.write_timer = None

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nobody asked for anything in time."""
        self.timeout_keep_alive_task = None
        if self.rests_since is not None:
            left = self.rests_since + self.limits.keep_alive - self.loop.time()
            if left <= 0:
                self._hang_up()
            else:
                self.timeout_keep_alive_task = self.loop.call_later(left, self.timeout_keep_alive_handler)

    def discard(self, data: bytes) -> None:
        """Throw away what arrives after the input has ended; beyond a whole body's worth, stop reading."""
        self.discarded_bytes += len(data)
        if self.discarded_bytes > self.limits.max_body_bytes:
            self.flow.hold_reading()

    # Deadlines

    def arm_head_timer(self) -> None:
        """Start the time in which a header section must be complete, or the first byte of its body arrive.

        The application cannot watch the latter: Falcon calls no code of ours before the first piece of the body.
        """
        limits = self.limits
        seconds = min(limits.header_deadline, limits.keep_alive) if self.border.draining else limits.header_deadline
        self.head_timer = self.loop.call_later(seconds, self._head_expired)

    def disarm_head_timer(self) -> None:
        """Stop that time."""
        if self.head_timer is not None:
            self.head_timer.cancel()
            self.head_timer = None

    def _head_expired(self) -> None:
        self.head_timer = None
        if self.phase is Phase.HEAD:
            self.refuse(SLOW_HEADER)
        elif self.phase is Phase.BODY:
            if not self.cycle.response_started:
                self.refuse(SILENT_BODY)
        elif not self.is_answering():
            self._hang_up()

    # Responses

    def is_answering(self) -> bool:
        """Tell whether the application still works on a request of this connection."""
        return self.running is not None and not self.running.is_over()

    def start(self, exchange: Exchange | DirectExchange) -> None:
        """Hand one exchange to the application, or to what answers it without."""
        self.running = exchange
        if isinstance(exchange, DirectExchange):
            exchange.begin(self.server_state.default_headers)
        else:
            self._start_asgi_task(exchange, self.app)

    def on_response_complete(self) -> None:
        """Go on to the next request of the pipeline, to a waiting refusal, or to idleness."""
        self.server_state.total_requests += 1
        if self.lingering or self.transport.is_closing():
            return
        if self.pipeline:
            self.start(self._next_exchange())
        elif self.waiting_refusal is not None:
            self._answer(self.waiting_refusal)
        else:
            self._rest()

    def _next_exchange(self) -> Exchange | DirectExchange:
        exchange, _ = self.pipeline.pop()
        if not self.pipeline and not self.flow.write_paused:
            self.flow.release_reading()
        return cast("Exchange | DirectExchange", exchange)

    def _drop_newest(self) -> None:
        exchange, _ = self.pipeline.popleft()
        cast("Exchange | DirectExchange", exchange).drop()

    def _drop_pipeline(self) -> None:
        for exchange, _ in self.pipeline:
            cast("Exchange | DirectExchange", exchange).drop()
        self.pipeline.clear()

    def _rest(self) -> None:
        self.flow.resume_reading()
        if self.phase is Phase.IDLE:
            # One timer for many rests, looked at when it fires: to set and cancel one for each request costs more.
            self.rests_since = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self.timeout_keep_alive_task = self.loop.call_later(
                    self.limits.keep_alive, self.timeout_keep_alive_handler
                )

    def refuse(self, refusal: Refusal) -> None:
        """Turn the incoming request away and end the input, after the responses to the requests before it."""
        self.discarding = True
        self.disarm_head_timer()
        if self.phase is Phase.BODY and self.pipeline:
            self._drop_newest()
        elif self.phase is Phase.BODY and self.running is not None:
            self._refuse_running(self.running, refusal)
            return
        if self.is_answering():
            self.waiting_refusal = refusal
        else:
            self._answer(refusal)

    def _refuse_running(self, exchange: Exchange | DirectExchange, refusal: Refusal) -> None:
        exchange.abandon()
        if exchange.response_started:
            self.transport.abort()
        else:
            self._answer(refusal)

    def _answer(self, refusal: Refusal) -> None:
        reply = answer(refusal, self.server_state.default_headers)
        log_refusal(refusal, reply, self.client)
        answers_head = self.phase is not Phase.IDLE and self.parser.get_method() == b"HEAD"
        self.transport.write(reply.head if answers_head else reply.head + reply.body)
        self._linger()

    # The end

    def _linger(self) -> None:
        if self.lingering or self.transport.is_closing():
            return
        self.discarding = self.lingering = True
        self.disarm_head_timer()
        self._unset_keepalive_if_required()
        self._drop_pipeline()
        self.transport.write_eof()
        self.flow.release_reading()
        self.close_timer = self.loop.call_later(LINGER_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        if self.transport.is_closing():
            return
        self.transport.close()
        self.close_timer = self.loop.call_later(self.limits.write_deadline, self.transport.abort)
