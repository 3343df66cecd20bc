"""What travels with a request through the gateway."""

from __future__ import annotations

import msgspec

from inference_core.deadline import Deadline
from otel.requests import RequestTrace

ARM_HEADER, CACHE_HEADER = "X-Model-Arm", "X-Cache"


class Try(msgspec.Struct, gc=False):
    """One attempt, as the traces of its requests tell of it. Times are on the clock of Deadline.

    `rows`, `requests` and `reason` are those of its batch. `ended` is 0 and `status` empty while it is under way.
    `waited` and `computed` are what the worker told, in seconds; `computing_at` is when it began, 0 if it did not say.
    """

    slot: int
    started: float
    rows: int
    requests: int
    reason: str
    ended: float = 0.0
    status: str = ""
    code: int = 0
    waited: float = 0.0
    computed: float = 0.0
    computing_at: float = 0.0


class Call(msgspec.Struct, gc=False):
    """One request: its deadline, id, trace and class. The rest is learned on the way and told to log and metrics.

    Seconds: `queued` in the gateway, `hop` on the wire and in the worker's border, `waited` in the worker's queue,
    `computed` by the model. `attempts` counts workers that were asked, `tries` has what is known of each. `queued_at`
    is on the clock of Deadline, 0 for what was never queued.
    `key` is who asks, and `wanted` the version or label that the sender chose, both empty where nothing was said; `arm`
    is its part of the traffic. `cache` tells whether its answer was kept before ("hit") or may be kept now ("miss").
    """

    deadline: Deadline
    request_id: str
    trace: RequestTrace
    background: bool = False
    model: str = ""
    version: str = ""
    rows: int = 0
    attempts: int = 0
    queued: float = 0.0
    hop: float = 0.0
    waited: float = 0.0
    computed: float = 0.0
    key: str = ""
    wanted: str = ""
    arm: str = ""
    cache: str = ""
    queued_at: float = 0.0
    tries: tuple[Try, ...] = ()

    def told(self) -> tuple[tuple[str, str], ...]:
        """Return the header fields that tell the sender of arm and cache; none where there is nothing to tell."""
        if not self.arm and not self.cache:
            return ()
        fields = ((ARM_HEADER, self.arm), (CACHE_HEADER, self.cache))
        return tuple([field for field in fields if field[1]])
