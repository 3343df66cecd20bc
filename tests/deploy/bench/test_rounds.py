"""In which order servers are measured, and which of several measurements of one figure counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from deploy.bench import rounds
from deploy.bench.contenders import Contender, ours
from deploy.bench.protocols import Predict
from deploy.bench.results import Cell
from deploy.bench.rounds import Plan, quietest, side_by_side
from deploy.bench.wrk import Errors, Load
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


def test_side_by_side_all_are_there_and_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every system is started once, before any is measured; every other round goes backwards; all are stopped."""
    told: list[str] = []

    @contextmanager
    def running(contender: Contender, _: str, __: Path) -> Iterator[SimpleNamespace]:
        told.append(f"+{contender.key}")
        tree = SimpleNamespace(cpu_seconds=lambda: 0.0)
        yield SimpleNamespace(url=contender.key, bodies=Path(), tree=tree)
        told.append(f"-{contender.key}")

    def run(url: str, _: Path, connections: int, seconds: int) -> Load:
        told.append(f"{url} {seconds}" if connections == 128 else "other")
        return Load(1000, seconds * 1_000_000, 1000, 2000, 3000, Errors())

    monkeypatch.setattr(rounds, "running", running)
    monkeypatch.setattr("deploy.bench.rounds.wrk.run", run)
    contenders = [Contender(key, key, "", Predict(), ours({})) for key in "ab"]
    measured = side_by_side(Plan(contenders, ["tiny"], [128], rounds=2, seconds=1), lambda _: None)
    assert told == ["+a", "+b", "a 5", "b 5", "a 1", "b 1", "b 1", "a 1", "-b", "-a"]
    assert [(one.contender, one.round, one.requests_per_second) for one in measured.cells] == [
        ("a", 1, 1000.0),
        ("b", 1, 1000.0),
        ("b", 2, 1000.0),
        ("a", 2, 1000.0),
    ]
