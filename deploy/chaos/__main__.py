"""`python -m deploy.chaos`: do faults to a system of its own under load, and print what clients noticed."""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from deploy.chaos.experiment import Answered, experiment, shown
from deploy.chaos.faults import FAULTS, Extent
from deploy.chaos.traffic import MOCK_SECONDS
from deploy.chaos.verdict import Outcome
from deploy.load.report import statuses_text
from deploy.measurement import keep, measurement, tell
from deploy.overrides import FORM, merged, overrides
from deploy.repositories import SAMPLES, repository
from deploy.table import aligned, milliseconds
from deploy.target import Target
from deploy.trial import Sections, trial

MODELS = Path(__file__).parent / "models"
HEAD = ("fault", "requests", "failed", "how", "excused", "p99 ms", "worst ms", "recovery s", "start, load s", "ok")
WIDTHS = (16, 8, 6, 24, 36, 8, 8, 10, 13, 3)
GATEWAYS = 2
DEADLINE_SECONDS = 5.0
QUICK = {"quiet": 1.0, "kills": 4.0, "stop": 2.0, "marked": 4.0}
EXAMPLES = """examples:
  make chaos                                             every fault at full length, about ten minutes
  make chaos ARGS="--quick --faults kill-gateway stop-worker\""""


def main() -> int:
    """Do the faults; return 0 where clients noticed nothing that is not excused, 1 where they did, 130 after Ctrl-C."""
    arguments = _parser().parse_args()
    return measurement(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> int:
    rows = _rows(arguments)
    keep(arguments.json, rows)
    wrong = [row.fault for row in rows if row.wrong]
    sys.stdout.write(f"\nNot as it must be: {', '.join(wrong)}.\n" if wrong else "\nEverything as it must be.\n")
    return 1 if wrong else 0


def _rows(arguments: argparse.Namespace) -> list[Outcome]:
    extent = Extent(arguments.rate, arguments.seed, DEADLINE_SECONDS, **_seconds(arguments))
    tell(f"Starting a system of {arguments.workers} workers; seed {arguments.seed}, {arguments.rate:g} requests/s ...")
    with repository(SAMPLES, MODELS) as models, trial(_settings(arguments, models)) as running:
        target = Target(running, arguments.workers, GATEWAYS, random.Random(arguments.seed))  # noqa: S311  # no secret
        sys.stdout.write(f"{aligned(HEAD, WIDTHS)}\n{aligned(['-' * width for width in WIDTHS], WIDTHS)}\n")
        return [_reported(name, target, extent) for name in arguments.faults]


def _reported(name: str, target: Target, extent: Extent) -> Outcome:
    tell(f"... {name}: {FAULTS[name].done}")
    answered = experiment(FAULTS[name], target, extent)
    sys.stdout.write(f"{aligned(_cells(answered.outcome), WIDTHS)}\n{_details(answered)}")
    sys.stdout.flush()
    return answered.outcome


def _cells(row: Outcome) -> tuple[str, ...]:
    if row.note:
        return row.fault, "-", "-", row.note, *"-" * 6
    times = (milliseconds(row.p99), milliseconds(row.worst), f"{row.recovery:.2f}", f"{row.load:.2f}")
    how = statuses_text(row.failures)
    return row.fault, str(row.requests), str(row.failed), how, shown(row), *times, "NO" if row.wrong else "yes"


def _details(answered: Answered) -> str:
    lines = [f"  not as it must be: {wrong}" for wrong in answered.outcome.wrong]
    lines += [f"  an answer, {name}: {answer.strip()}" for name, answer in answered.samples.items()]
    return "".join(f"{line}\n" for line in lines)


def _settings(arguments: argparse.Namespace, models: Path) -> Sections:
    base: Sections = {
        "gateway": {"processes": GATEWAYS, "deadline": DEADLINE_SECONDS},
        "inference": {"workers": arguments.workers, "repository": str(models), "mock_latency": MOCK_SECONDS},
        "telemetry": {"otlp_endpoint": ""},  # its spans would go to whatever the machine's user runs
    }
    return merged(base, arguments.set)


def _seconds(arguments: argparse.Namespace) -> dict[str, float]:
    chosen = dict(QUICK) if arguments.quick else {}
    return chosen | ({"kills": arguments.kills} if arguments.kills else {})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.chaos",
        description="Start a private system, send it a mix of requests, do one fault after the other, and print for "
        "each what clients noticed and how long until everything was back. Never touches the system of `make up`.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    names = list(FAULTS)
    add("--faults", nargs="+", choices=names, default=names, metavar="NAME", help=f"of {', '.join(names)}")
    add("--workers", type=int, default=2, help="how many the system has (default 2)")
    add("--rate", type=float, default=300.0, help="healthy requests per second (default 300)")
    add("--seed", type=int, default=1, help="of arrivals, mix and victims (default 1)")
    add("--kills", type=float, metavar="SECONDS", help="how long kill-workers lasts (default 60)")
    add("--quick", action="store_true", help="a few seconds for each fault, for CI")
    add("--set", type=overrides, default={}, metavar=FORM, help="further settings of the system")
    add("--json", type=Path, metavar="FILE", help="write the rows there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
