"""What all models' queues of a process use together."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.attempts import Attempts
from gateway.quarantine import Quarantine
from gateway.replay import RetryBudget
from gateway.suspicions import Suspicions
from gateway.tally import Tally
from gateway.workers import Workers


@dataclass(frozen=True, slots=True)
class Shared:
    """Built once, in the dispatcher."""

    workers: Workers
    attempts: Attempts
    quarantine: Quarantine
    suspicions: Suspicions
    retries: RetryBudget
    hedges: RetryBudget
    tally: Tally
