"""A run with round figures, as the tests of tables, charts and promises want it."""

from __future__ import annotations

from deploy.bench.machine import Machine
from deploy.bench.results import Cell, Run, Start

MACHINE = Machine(2, "A & B <processor>", 4.0, "6.1", "Debian", "3.11.2", "4.1.0")
LABELS = {"ours": "InferenceHub", "fastapi-2": "FastAPI <2>", "triton-1": "Triton & Co"}


def cell(contender: str, number: int, connections: int, rate: float, **others: float) -> Cell:
    """Return a cell of the work `tiny` in that round; `others` may have p50 and cpu, in milliseconds."""
    p50, cpu = others.get("p50", 1.0), others.get("cpu", 0.1)
    return Cell("tiny", contender, number, connections, rate, p50, 9.0, cpu, errors=0)


def run(*cells: Cell) -> Run:
    """Return a run of these cells."""
    starts = [Start("tiny", "ours", 1, 1.5, 100.0, 200.0), Start("tiny", "ours", 2, 2.5, 102.0, 202.0)]
    return Run("2026-01-01", 2, 4, MACHINE, LABELS, dict.fromkeys(LABELS, "1.0"), cells, starts)
