"""`python -m deploy.goodput`: overload a system of its own, and say how much of what it does is of use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from deploy.goodput.bench import Bench, Durations, bench
from deploy.goodput.capacity import capacity
from deploy.goodput.point import Point, is_sustained
from deploy.goodput.rows import OF_THE_CURVE, ROWS, Curve, Row, collapse, curve
from deploy.load.report import statuses_text
from deploy.measurement import keep, measurement, tell
from deploy.overrides import FORM, merged, overrides
from deploy.table import milliseconds, table
from deploy.trial import Sections
from inference_core.errors import ConfigurationError

CONTROL = "K08"
REST_SHARE = 0.2
MULTIPLES, QUICK_MULTIPLES = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0), (1.0, 3.0, 10.0)
QUICK = Durations(step=2.0, warm=1.5, measured=2.5, calm=4.0, spike=3.0, stopped=4.0)
HEAD = (
    "x C",
    "offered/s",
    "good/s",
    "reached",
    "admitted p50, p99 ms",
    "refused p99 ms",
    "CPU us each",
    "gateways MiB",
    "workers MiB",
    "statuses",
)
EXAMPLES = """examples:
  make goodput ARGS="--quick"
  make goodput ARGS="--deadline 0.25 --rows K01 K04\""""


class Result(msgspec.Struct, frozen=True):
    """What --json writes: the capacity in requests per second, the points by multiple of it, the verdicts."""

    capacity: float
    deadline: float
    seed: int
    points: dict[str, Point]
    rows: tuple[Row, ...]


def main() -> int:
    """Measure; return 0 where every row is as it must be, 1 where one is not, 130 after Ctrl-C."""
    arguments = _parser().parse_args()
    return measurement(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    result = _measured(arguments)
    sys.stdout.write(table(("row", "done", "happened", "ok"), [_cells(row) for row in result.rows]))
    for row in result.rows:
        sys.stdout.write("".join(f"{row.identity}: {wrong}\n" for wrong in row.wrong))
    keep(arguments.json, result)
    return 1 if any(row.wrong for row in result.rows) else 0


def _measured(arguments: argparse.Namespace) -> Result:
    durations = QUICK if arguments.quick else Durations()

    def start(extra: Sections) -> Any:
        return bench(arguments.deadline, arguments.seed, durations, tell, extra)

    tell("Starting a system on core 0, to be asked from core 1 ...")
    with start(arguments.set) as running:
        found = _curve(running, arguments)
        sys.stdout.write(f"C = {found.capacity:.0f}/s\n{table(HEAD, _points(found))}\n")
        sys.stdout.flush()
        rows = [_said(name, partial(_rested, name, running, found)) for name in arguments.rows if name in ROWS]
    if CONTROL in arguments.rows:
        rows.append(_said(CONTROL, lambda: _control(start, arguments, found)))
    points = {f"{multiple:g}": point for multiple, point in found.points.items()}
    return Result(found.capacity, arguments.deadline, arguments.seed, points, tuple(rows))


def _curve(running: Bench, arguments: argparse.Namespace) -> Curve:
    def bears(rate: float) -> bool:
        sustained = is_sustained(running.step(rate), running.deadline)
        tell(f"... {rate:.0f}/s: {'borne' if sustained else 'too much'}")
        return sustained

    found = arguments.capacity or capacity(bears)
    if not found:
        raise ConfigurationError("The system bears no load at all; see its answers with python -m deploy.load.")
    repeats = arguments.repeats or (1 if arguments.quick else 3)
    return curve(running, found, QUICK_MULTIPLES if arguments.quick else MULTIPLES, repeats)


def _control(start: Callable[[Sections], Any], arguments: argparse.Namespace, found: Curve) -> Row:
    off = merged(arguments.set, arguments.limits_off)
    try:
        with start(off) as running:
            return collapse(running, found.capacity, found.peak)
    except ConfigurationError as error:
        return Row(CONTROL, "limits off", "not run", (f"no system without limits: {error.message.splitlines()[0]}",))


def _rested(name: str, running: Bench, found: Curve) -> Row:
    if name not in OF_THE_CURVE:
        running.rest(REST_SHARE * found.capacity)
    return ROWS[name](running, found)


def _said(name: str, run: Callable[[], Row]) -> Row:
    tell(f"... {name}")
    row = run()
    tell(f"    {row.happened}")
    return row


def _points(found: Curve) -> list[tuple[str, ...]]:
    return [
        (
            f"{multiple:g}",
            f"{at.offered:.0f}",
            f"{at.goodput:.0f}",
            f"{found.share(multiple):.0%}",
            f"{milliseconds(at.admitted_p50)}, {milliseconds(at.admitted_p99)}",
            milliseconds(at.refused_p99),
            f"{at.processor_seconds / (at.offered * at.seconds) * 1e6:.0f}",
            *(" -> ".join(f"{size / 2**20:.0f}" for size in at.resident[name]) for name in ("gateways", "workers")),
            statuses_text(at.statuses),
        )
        for multiple, at in found.points.items()
    ]


def _cells(row: Row) -> tuple[str, ...]:
    return row.identity, row.done, row.happened, "NO" if row.wrong else "yes"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.goodput",
        description="Start a private system on core 0 with a model that sleeps, find its capacity C, offer multiples "
        "of C from core 1, and print how many answers come in time, what refusals take and cost, and whether it "
        "recovers. Never touches the system of `make up`.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    names = [*ROWS, CONTROL]
    add("--rows", nargs="+", choices=names, default=names, metavar="ROW", help=f"of {', '.join(names)}; default all")
    add("--deadline", type=float, default=2.0, help="seconds that each request may take (default 2)")
    add("--capacity", type=float, help="C in requests per second, instead of finding it")
    add("--repeats", type=int, help="of each point, for its median (default 3; 1 with --quick)")
    add("--seed", type=int, default=1, help="of the arrivals (default 1)")
    add("--quick", action="store_true", help="fewer points, a few seconds each, for CI")
    off = overrides("gateway.admission=false")
    add("--set", type=overrides, default={}, metavar=FORM, help="further settings of the system")
    add("--limits-off", type=overrides, default=off, metavar=FORM, help="settings of the control K08")
    add("--json", type=Path, metavar="FILE", help="write everything there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
