"""Every row of the fault-and-attack catalogue that applies and leaves all processes alive, on one running system.

The others, which take minutes, run with `python -m tests.e2e.catalogue`.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.e2e.catalogue import CATALOGUE
from tests.e2e.catalogue_bench import Bench, bench

ROWS_THAT_APPLY = {
    *(f"A{number:02}" for number in range(1, 17)),
    *(f"C{number:02}" for number in range(1, 18)),
    *(f"D{number:02}" for number in range(1, 22)),
    *(f"E{number:02}" for number in range(1, 21)),
    *(f"F{number:02}" for number in range(1, 13)),
    *(f"H{number:02}" for number in range(1, 12)),
    *(f"K{number:02}" for number in range(1, 9)),
    *(f"I{number:02}" for number in range(1, 8)),
}


@pytest.fixture(scope="module")
def running() -> Iterator[Bench]:
    """Start one system for all rows."""
    with bench(measuring=False) as started:
        yield started


def test_no_row_is_missing() -> None:
    """The catalogue has every row that applies, and no other."""
    assert set(CATALOGUE) == ROWS_THAT_APPLY


@pytest.mark.parametrize("identity", [identity for identity, row in CATALOGUE.items() if not row.destructive])
def test_row(running: Bench, identity: str) -> None:
    """What must happen happens, and the very same processes answer afterwards."""
    before = running.system.processes()
    outcome = CATALOGUE[identity].run(running)
    assert outcome.wrong == (), outcome
    assert outcome.happened
    assert running.system.processes() == before
    with running.client() as client:
        assert client.post("/predict", json={"prompt": "fine"}).status_code == httpx.codes.OK
