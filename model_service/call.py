"""What is known of one RPC while it runs: numbers and texts, of which a line and spans are made when they are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from opentelemetry.trace import Link

from inference_core.deadline import now
from inference_core.members import from_text
from inference_core.names import request_id_from
from inference_core.tensors import Arrays, Buffer
from otel.recorder import Place, link_to
from otel.requests import RequestTrace, new_span_id, new_trace_id

LONGEST_MEMBERS = 256 * 1024
"""Characters of a list of requests; about 2000 of them. A longer one is no gateway's and is not read."""
SHOWN_IDS = 32
MOST_LINKS = 128
"""OpenTelemetry's own default for links of a span."""


class BatchTrace:
    """The trace of its own that a batch of several requests has once one of them is kept: ids, and whom it links to."""

    __slots__ = ("links", "place")

    def __init__(self) -> None:
        self.place: Place | None = None
        self.links: list[Link] = []

    def joined(self, compute: Place, index: int) -> Place:
        """Note the compute span of the request at that place of the batch, and return the batch's own span."""
        if self.place is None:
            self.place = Place(new_trace_id(), new_span_id())
        if len(self.links) < MOST_LINKS:
            self.links.append(link_to(compute, {"app.batch.index": index}))
        return self.place


class Computation:
    """How a call was computed. Times are on the clock of Deadline, `ended_at` is 0 until then.

    `batch` is shared by all calls of the batch. `waited`: its rows found no idle consumer or were held for others.
    `batch_requests` is how many requests the batch had and `index` the place of the call's first one in it.
    """

    __slots__ = (
        "batch",
        "batch_requests",
        "batch_rows",
        "ended_at",
        "error",
        "index",
        "queued_at",
        "reason",
        "started_at",
        "waited",
    )

    def __init__(self, batch: BatchTrace, queued_at: float, started_at: float, *, waited: bool) -> None:
        self.batch = batch
        self.queued_at = queued_at
        self.started_at = started_at
        self.waited = waited
        self.ended_at = 0.0
        self.batch_rows = self.batch_requests = self.index = 0
        self.reason = self.error = ""

    @property
    def queue_microseconds(self) -> int:
        """The time between the queue's door and the model."""
        return int((self.started_at - self.queued_at) * 1e6)

    @property
    def computing_at_microseconds(self) -> int:
        """When the model began, on the clock of Deadline, which all processes of a machine share."""
        return int(self.started_at * 1e6)

    @property
    def compute_microseconds(self) -> int:
        """The time in the model."""
        return int((self.ended_at - self.started_at) * 1e6)


class Call:
    """One RPC. `started_at` is on the clock of Deadline; `requests` counts the requests that its rows belong to.

    `fingerprint` is that of an input which is to run alone, because it may have killed workers. `raw` are the raw
    contents of a large request, and `outputs` what is to follow the response raw; neither is in the messages then.
    """

    __slots__ = (
        "_offered_id",
        "_request_id",
        "computation",
        "fingerprint",
        "members",
        "method",
        "model",
        "outputs",
        "raw",
        "requests",
        "started_at",
        "trace",
        "version",
    )

    def __init__(self, method: str, trace: RequestTrace, offered_id: str) -> None:
        self.started_at = now()
        self.method = method
        self.trace = trace
        self.model = self.version = self.members = self._request_id = ""
        self.fingerprint = ""
        self.requests = 1
        self.computation: Computation | None = None
        self.raw: Sequence[Buffer] | None = None
        self.outputs: Arrays | None = None
        self._offered_id = offered_id

    @property
    def request_id(self) -> str:
        """The id that the client offered, or a new one in its place; made when somebody asks for it."""
        if not self._request_id:
            self._request_id = request_id_from(self._offered_id)
        return self._request_id

    def carry(self, members: str) -> None:
        """Note the requests that the call is made of, as `inference_core.members` writes them."""
        if members and len(members) <= LONGEST_MEMBERS:
            self.members = members
            self.requests = members.count(";") + 1

    def ids(self) -> dict[str, str]:
        """Return what finds the call in logs and traces."""
        return {"request_id": self.request_id, "trace_id": self.trace.trace_id, "span_id": self.trace.span_id}

    def describe(self) -> dict[str, Any]:
        """Return what a log line says of the call, whatever its event."""
        subject: dict[str, Any] = self.ids()
        if self.model:
            subject |= {"model": self.model, "version": self.version}
        return subject | listed([self]) if self.members else subject


def listed(calls: Sequence[Call]) -> dict[str, Any]:
    """Return how many requests there are in calls and the ids of the first ones."""
    request_ids: list[str] = []
    trace_ids: list[str] = []
    for call in calls:
        if len(request_ids) >= SHOWN_IDS:
            break
        members = from_text(";".join(call.members.split(";", SHOWN_IDS)[:SHOWN_IDS])) if call.members else ()
        request_ids += [member.request_id for member in members] or [call.request_id]
        trace_ids += [member.traceparent[3:35] for member in members] or [call.trace.trace_id]
    return {
        "requests": sum([call.requests for call in calls]),
        "request_ids": request_ids[:SHOWN_IDS],
        "trace_ids": trace_ids[:SHOWN_IDS],
    }


def described(calls: Sequence[Call]) -> Mapping[str, Any]:
    """Return what a log line of a model says of the calls that it computes for."""
    if len(calls) == 1:
        return calls[0].describe()
    return {"model": calls[0].model, "version": calls[0].version, **listed(calls)}


CURRENT: ContextVar[Call] = ContextVar("call")
"""The call that this task answers; set at the border."""
