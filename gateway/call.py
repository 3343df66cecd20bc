"""What travels with a request through the gateway."""

from __future__ import annotations

import msgspec

from inference_core.deadline import Deadline
from otel.requests import RequestTrace

ARM_HEADER, CACHE_HEADER = "X-Model-Arm", "X-Cache"


class Call(msgspec.Struct, gc=False):
    """One request: its deadline, id, trace and class. The rest is learned on the way and told to log and metrics.

    Seconds: `queued` in the gateway, `hop` on the wire and in the worker's border, `waited` in the worker's queue,
    `computed` by the model. `attempts` counts workers that were asked.
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

    def told(self) -> tuple[tuple[str, str], ...]:
        """Return the header fields that tell the sender of arm and cache; none where there is nothing to tell."""
        if not self.arm and not self.cache:
            return ()
        fields = ((ARM_HEADER, self.arm), (CACHE_HEADER, self.cache))
        return tuple([field for field in fields if field[1]])
