"""The protocol of the gateway's connections: a request whose head came before is not parsed again."""

from __future__ import annotations

from gateway.http_connection import Border, Phase
from gateway.http_direct import MOST_BYTES, DirectExchange, Pending, rendered
from gateway.http_protocol import GatewayProtocol
from gateway.replies import Reply
from inference_core.settings import Gateway

REFUSALS_OF_A_CONNECTION = 16
"""One in so many refusals ends its connection. Clients use the connection again that was free last, and that is the one
of a process that refuses at once, while another has room; a new one goes to whichever process has the time for it."""


class RepeatingProtocol(GatewayProtocol):
    """Leaves to the parser what is new; `guarded_protocol` makes the class that uvicorn instantiates."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Answer a whole request with a known head, or have parsed what arrived."""
        is_between = self._is_between_requests()
        repeated = self.border.repeats.find(data) if is_between else None
        if repeated is None:
            before = self.cycle
            super().data_received(data)
            self._remember(data, before, is_between=is_between)
            return
        self.rests_since = None
        self.disarm_head_timer()
        refusal = self.border.door.refusal(MOST_BYTES)
        if refusal is None:
            self._answer_or_turn_away(repeated)
        else:
            self.refuse(refusal)

    def _answer_or_turn_away(self, request: Pending) -> None:
        stays = self.keeps_alive(wanted=request.keeps_alive)
        reply = request.route.turn_away(request.fields, request.body) if stays else None
        if reply is None:
            self.cycle = DirectExchange(request, self.line, self.on_response_complete, keep_alive=stays)
            self.start(self.cycle)
        else:
            self._turn_away(reply)

    def _turn_away(self, reply: Reply) -> None:
        self.border.turned_away += 1
        stays = self.border.turned_away % REFUSALS_OF_A_CONNECTION != 0
        self.transport.write(rendered(reply, self.server_state.default_headers, keep_alive=stays))
        if not stays:
            self.transport.close()
        self.on_response_complete()

    def _remember(self, data: bytes, before: object, *, is_between: bool) -> None:
        # Blank lines between requests are no request: then the exchange is still the one before.
        is_new = is_between and self.phase is Phase.IDLE and self.cycle is not before
        if is_new and isinstance(self.cycle, DirectExchange):
            self.border.repeats.remember(data, self.cycle.pending)

    def _is_between_requests(self) -> bool:
        # The parser has seen nothing of the next request, and was not told that there will be none.
        running = self.running
        return (
            self.phase is Phase.IDLE
            and not self.unreported_bytes
            and not self.discarding
            and (running is None or (running.keep_alive and running.is_over()))
        )


def guarded_protocol(limits: Gateway) -> type[GatewayProtocol]:
    """Return the protocol class for one process, to be given to uvicorn as `http`.

    All its connections share one Border; set `border.draining` when the process begins to leave.
    """

    class Protocol(RepeatingProtocol):
        border = Border(limits)

    return Protocol
