"""What the generator is asked to send: kinds of requests, rates, limits. Times in seconds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
MOST_REQUESTS = 5_000_000
"""Of one plan: each takes about 40 bytes of the generator's memory."""


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sort of request; `weight` is its share beside the others', `expected` the statuses that are no failure."""

    name: str
    body: str = ""
    headers: dict[str, str] = {}
    weight: Positive = 1.0
    expected: tuple[int, ...] = (200,)
    path: Annotated[str, Meta(pattern=r"^/[!-~]*$")] = "/predict"


class Stage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A stretch of time with one rate, in requests per second."""

    rate: Positive
    seconds: Positive


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole load.

    `connections` are opened before the first request is due, more on demand up to `most_connections`. A request that
    has no answer `patience` seconds after it was due counts as failed, sent or not. `retries` is how often at once a
    client repeats a request that was not answered as expected. A connection that was idle for `longest_idle` is not
    used again: keep that below the server's keep-alive and its deadline for a first request, so that nothing is sent
    where it is about to close.
    """

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)]
    kinds: Annotated[tuple[Kind, ...], Meta(min_length=1, max_length=100)]
    stages: Annotated[tuple[Stage, ...], Meta(min_length=1)]
    seed: int = 1
    arrivals: Literal["poisson", "fixed"] = "poisson"
    connections: Count = 16
    most_connections: Count = 1024
    patience: Positive = 10.0
    retries: Annotated[int, Meta(ge=0, le=100)] = 0
    longest_idle: Positive = 3.0

    @property
    def seconds(self) -> float:
        """How long requests are due, all stages together."""
        return sum(stage.seconds for stage in self.stages)

    @property
    def expected_requests(self) -> float:
        """How many requests that makes, on average."""
        return sum(stage.rate * stage.seconds for stage in self.stages)


def rendered(plan: Plan, kind: Kind) -> bytes:
    """Return the request of that kind as it goes over the wire, HTTP/1.1 with a kept connection."""
    body = kind.body.encode()
    fields = {"Host": f"{plan.host}:{plan.port}", "Content-Length": str(len(body))}
    if body:
        fields["Content-Type"] = "application/json"
    lines = "".join(f"{name}: {value}\r\n" for name, value in (fields | kind.headers).items())
    method = "POST" if body else "GET"
    return f"{method} {kind.path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body
