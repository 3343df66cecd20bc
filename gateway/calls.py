"""What Falcon's requests for a prediction have in common: how long, how important, who asks, which version."""

from __future__ import annotations

from falcon.asgi import Request

from gateway.call import Call
from gateway.timeouts import PRIORITY, TIMEOUT, deadline_of, is_background
from inference_core.settings import Gateway, Traffic


class Calls:
    """Makes a request's Call from its header; raises InvalidInput for values that mean nothing."""

    def __init__(self, settings: Gateway, traffic: Traffic) -> None:
        self._settings = settings
        self._traffic = traffic

    def begin(self, request: Request) -> Call:
        """Return the Call, which the request's log line, span and answer will tell of."""
        observed = request.context.observed
        deadline = deadline_of(request.get_header(TIMEOUT), self._settings.deadline)
        call = Call(deadline, observed.request_id, observed.trace, is_background(request.get_header(PRIORITY)))
        call.key = request.get_header(self._traffic.user_header) or ""
        call.wanted = request.get_header(self._traffic.version_header) or ""
        request.context.call = call
        return call
