"""`python -m tests.e2e.catalogue [ROW ...]`: run the fault-and-attack catalogue and print a table of what happened."""

from __future__ import annotations

import argparse
import sys
import traceback

import pytest

from tests.e2e import (
    catalogue_bodies,
    catalogue_calls,
    catalogue_collector,
    catalogue_deaths,
    catalogue_doors,
    catalogue_exposure,
    catalogue_foreign,
    catalogue_frames,
    catalogue_goodput,
    catalogue_grpc,
    catalogue_headers,
    catalogue_http,
    catalogue_intruders,
    catalogue_names,
    catalogue_observed,
    catalogue_pages,
    catalogue_patience,
    catalogue_processes,
    catalogue_reloads,
    catalogue_tensors,
    catalogue_versions,
)
from tests.e2e.catalogue_bench import ROWS, Bench, Row, bench
from tests.e2e.outcome import Outcome

FILES = (
    catalogue_bodies,
    catalogue_http,
    catalogue_patience,
    catalogue_grpc,
    catalogue_calls,
    catalogue_frames,
    catalogue_headers,
    catalogue_observed,
    catalogue_collector,
    catalogue_exposure,
    catalogue_pages,
    catalogue_foreign,
    catalogue_processes,
    catalogue_deaths,
    catalogue_goodput,
    catalogue_versions,
    catalogue_reloads,
    catalogue_intruders,
    catalogue_names,
    catalogue_tensors,
    catalogue_doors,
)
"""Each of them registers its rows when it is imported."""

CATALOGUE = dict(sorted(ROWS.items()))

HEADER = "| id | what was done | what happened | figure | ok |\n|---|---|---|---|---|\n"


def main() -> int:
    """Run the rows that are asked for, or all; return 0 if every one of them is ok."""
    rows = [CATALOGUE[identity] for identity in _parser().parse_args().rows or CATALOGUE]
    sys.stdout.write(HEADER)
    with bench(measuring=True) as running:
        oks = [_printed(row, _outcome(row, running)) for row in rows]
    return 0 if all(oks) else 1


def _outcome(row: Row, running: Bench) -> Outcome:
    try:
        return row.run(running)
    except pytest.skip.Exception as skipped:  # a tool is missing
        return Outcome("", wrong=(f"not run: {skipped}",))
    except Exception as error:  # noqa: BLE001  # one broken row must not hide the others
        traceback.print_exc()
        return Outcome("", wrong=(f"{type(error).__name__}: {error}",))


def _printed(row: Row, outcome: Outcome) -> bool:
    happened = "; ".join((outcome.happened, *outcome.wrong[:3])) if outcome.wrong else outcome.happened
    cells = (row.identity, row.done, happened, outcome.figure, "yes" if outcome.ok else "NO")
    sys.stdout.write(f"| {' | '.join(_cell(cell) for cell in cells)} |\n")
    sys.stdout.flush()
    return outcome.ok


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _identity(text: str) -> str:
    if text.upper() not in CATALOGUE:
        raise argparse.ArgumentTypeError(f"there is no row {text}; rows are {', '.join(CATALOGUE)}")
    return text.upper()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e.catalogue",
        description="Start the whole system on free ports, attack it row by row, and print a Markdown table.",
        epilog="Example: python -m tests.e2e.catalogue D10 E17",
    )
    known = ", ".join(CATALOGUE)
    parser.add_argument("rows", nargs="*", metavar="ROW", type=_identity, help=f"rows to run, of {known}; default: all")
    return parser


if __name__ == "__main__":
    sys.exit(main())
