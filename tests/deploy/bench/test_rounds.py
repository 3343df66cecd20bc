"""Which of several measurements of one figure counts."""

from __future__ import annotations

import msgspec

from deploy.bench.results import Cell
from deploy.bench.rounds import quietest
from tests.deploy.bench.samples import cell


def disturbed(foreign: float, rate: float, errors: int = 0) -> Cell:
    """Return a cell during which others took that share of the cores."""
    return msgspec.structs.replace(cell("ours", 1, 1, rate), foreign=foreign, errors=errors)


def test_a_quiet_figure_is_taken_once() -> None:
    """Nothing is repeated, whatever the figure says."""
    cells = iter([disturbed(0.1, 5.0), disturbed(0.0, 50.0)])
    assert quietest(lambda: next(cells), 2).requests_per_second == 5


def test_a_disturbed_figure_is_taken_again_until_it_is_quiet() -> None:
    """The first quiet one counts, even if it is not the best."""
    cells = iter([disturbed(0.9, 50.0), disturbed(0.1, 5.0), disturbed(0.0, 60.0)])
    assert quietest(lambda: next(cells), 2).requests_per_second == 5


def test_patience_ends_and_no_error_is_lost() -> None:
    """After the repeats the least disturbed counts, with the errors of all."""
    cells = iter([disturbed(0.9, 1.0, errors=1), disturbed(0.5, 2.0), disturbed(0.7, 3.0, errors=2)])
    chosen = quietest(lambda: next(cells), 2)
    assert (chosen.requests_per_second, chosen.errors) == (2, 3)
