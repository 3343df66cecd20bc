"""The page of a run."""

from __future__ import annotations

from deploy.bench.table import markdown
from tests.deploy.bench.samples import cell, run


def rows(page: str) -> list[list[str]]:
    """Return the cells of every line of every table."""
    return [line.strip("|").split("|") for line in page.splitlines() if line.startswith("|")]


def test_a_table_has_as_many_columns_in_every_line() -> None:
    """Markdown shows the figures under their heads."""
    page = markdown(
        run(*(cell(key, 1, connections, 1234.5) for key in ("ours", "triton-1") for connections in (1, 32))),
        "T",
        "c.svg",
    )
    widths = [len(row) for row in rows(page)]
    assert widths == [7] * 4 + [3] * 3


def test_the_figures_are_the_medians() -> None:
    """The page says what was measured: rate, latency, CPU, start, memory, errors, spread."""
    page = markdown(run(cell("ours", 1, 1, 1000.0), cell("ours", 2, 1, 2000.0)), "T", "c.svg")
    assert "| InferenceHub | 2.00 | 101 (201) | **1,500**, 1.00/9.0, 0.100 | 0 | 67% |" in page


def test_a_single_server_has_no_ratios() -> None:
    """Alone there is nobody to compare with."""
    assert "divided by" not in markdown(run(cell("ours", 1, 1, 1.0)), "T", "c.svg")
