"""What admission needs to know of a request."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from inference_core.deadline import Deadline


@dataclass(eq=False)
class Request:
    """A request of some rows and bytes that wants its answer within a minute."""

    rows: int = 1
    size: int = 8
    background: bool = False
    deadline: Deadline = field(default_factory=lambda: Deadline.after(60.0))
    queued_at: float = 0.0
    key: Hashable = "key"
