"""What travels with a request through the gateway."""

from __future__ import annotations

from dataclasses import dataclass

from inference_core.deadline import Deadline


@dataclass(frozen=True, slots=True)
class Call:
    """One request's deadline and id."""

    deadline: Deadline
    request_id: str
