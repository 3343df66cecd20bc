"""What travels with a request through the gateway."""

from __future__ import annotations

import msgspec

from inference_core.deadline import Deadline
from otel.requests import RequestTrace


class Call(msgspec.Struct, gc=False):
    """One request: its deadline, id, trace and class. The rest is learned on the way and told to log and metrics.

    Seconds: `queued` in the gateway, `hop` on the wire and in the worker's border, `waited` in the worker's queue,
    `computed` by the model. `attempts` counts workers that were asked.
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
