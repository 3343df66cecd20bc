"""The requests under which the faults happen: a mix of models, and the marked input beside it."""

from __future__ import annotations

import json

from deploy.load.plan import Kind, Plan, Stage
from inference_core.settings import CHECKOUT

MOCK_SECONDS = 0.05
"""What v1-mock pretends to compute in these runs."""
MARK = -139.0
MARKED_SHARE = 0.01
LONGEST_SECONDS = 600.0
"""A run is stopped when its fault is over; this only ends one that was forgotten."""
SPARE_SECONDS = 1.0
"""Beyond the gateway's deadline, so that it is always the server that answers, and in time."""


def mixed() -> tuple[Kind, ...]:
    """Return the kinds of healthy requests, each with one model."""
    digit = json.loads((CHECKOUT / "model_service" / "models" / "digits" / "example.json").read_text())
    return (
        Kind("sentiment", json.dumps({"prompt": "What a wonderful day"}), weight=4),
        Kind("digits", json.dumps(digit), weight=3),
        Kind("v1-mock", json.dumps({"features": [0.5, 1.2, 3.4, 0.9], "model_name": "v1-mock"}), weight=2),
        Kind("marked", json.dumps({"features": [1.0, 2.0], "model_name": "marked"}), weight=1),
    )


def fatal() -> Kind:
    """Return the kind whose requests kill the worker that computes them; each is to be answered 500."""
    return Kind("fatal", json.dumps({"features": [1.0, MARK], "model_name": "marked"}), expected=(500,))


def plan(port: int, rate: float, seed: int, deadline: float) -> Plan:
    """Return the healthy traffic, in requests per second, for a gateway with that deadline in seconds."""
    return Plan(
        "127.0.0.1",
        port,
        mixed(),
        (Stage(rate, LONGEST_SECONDS),),
        seed=seed,
        connections=32,
        patience=deadline + SPARE_SECONDS,
    )


def fatal_plan(port: int, rate: float, seed: int, deadline: float, seconds: float) -> Plan:
    """Return the marked traffic that goes beside `rate` healthy requests per second; at least one request."""
    stage = Stage(max(rate * MARKED_SHARE, 1 / seconds), seconds)
    return Plan("127.0.0.1", port, (fatal(),), (stage,), seed=seed, arrivals="fixed", connections=1, patience=deadline)
