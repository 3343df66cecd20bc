"""When each request is due and of which kind it is, from a seed alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from deploy.load.plan import Plan, Stage

SPARE = 6.0
"""Standard deviations: with so many gaps drawn beyond the mean, a Poisson stage falls short once in a billion."""


@dataclass(frozen=True)
class Schedule:
    """`due` in seconds from the start, ascending; `kind` indexes the plan's kinds."""

    due: NDArray[np.float64]
    kind: NDArray[np.uint8]


def schedule(plan: Plan) -> Schedule:
    """Return the plan's requests; the same plan always gives the same."""
    random = np.random.default_rng(plan.seed)
    due = np.concatenate(list(_stages(plan, random)))
    weights = np.array([kind.weight for kind in plan.kinds])
    kinds = random.choice(len(weights), size=len(due), p=weights / weights.sum())
    return Schedule(due, kinds.astype(np.uint8))


def _stages(plan: Plan, random: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    start = 0.0
    for stage in plan.stages:
        yield start + (_poisson(stage, random) if plan.arrivals == "poisson" else _fixed(stage))
        start += stage.seconds


def _fixed(stage: Stage) -> NDArray[np.float64]:
    return np.arange(0.0, stage.seconds, 1 / stage.rate)


def _poisson(stage: Stage, random: np.random.Generator) -> NDArray[np.float64]:
    mean = stage.rate * stage.seconds
    gaps = random.exponential(1 / stage.rate, size=int(mean + SPARE * mean**0.5) + 10)
    due = np.cumsum(gaps)
    return due[due < stage.seconds]
