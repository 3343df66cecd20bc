"""The verb `compare`: measure, then write a page, a picture and the raw figures."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from deploy.bench import chart, machine, results, table, wrk
from deploy.bench.contenders import CONTENDERS, OURS, Contender
from deploy.bench.environments import cache_folder, versions
from deploy.bench.floors import verdicts
from deploy.bench.peers.work import FEATURES
from deploy.bench.results import Run
from deploy.bench.rounds import Plan, measure, run_of
from inference_core.errors import ConfigurationError
from inference_core.settings import CHECKOUT

DOCUMENTS = CHECKOUT / "docs" / "benchmarks"
ALL, NONE = "all", "none"
INTERESTING = ("fastapi", "uvicorn", "mosec", "nvidia-pytriton", "litserve", "mlserver", "numpy", "onnxruntime")
QUICK_ROUNDS, QUICK_SECONDS = 1, 2


def compare(arguments: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Return 0, or 1 when a server was left out, errors were counted or, with --check, a promise does not hold."""
    wrk.check_installed()
    plan = plan_of(arguments)
    began = time.monotonic()
    versions_then = {contender.key: _versions_of(contender) for contender in plan.contenders}  # files may change later
    run = run_of(plan, versions_then, measure(plan, say))
    title = "peers" if arguments.peers == ALL else "fastapi" if arguments.peers == "fastapi" else "selection"
    is_complete = not arguments.quick and title != "selection" and set(plan.works) == FEATURES.keys()
    output = arguments.output or (DOCUMENTS if is_complete else cache_folder() / "results")
    page = write(run, output, title)
    say("\n" + page.read_text(encoding="utf-8"))
    say(f"Measured for {(time.monotonic() - began) / 60:.1f} minutes. Written: {page}, with .svg and .json beside it.")
    broken = arguments.check and not all(verdict.holds for verdict in verdicts(run))
    return 1 if run.failures or any(cell.errors for cell in run.cells) or broken else 0


def plan_of(arguments: argparse.Namespace) -> Plan:
    """Return the plan that the command line asks for; --quick is fewer rounds and seconds unless they are given."""
    return Plan(
        contenders=choose(arguments.peers),
        works=arguments.work,
        connections=arguments.connections,
        rounds=arguments.rounds or (QUICK_ROUNDS if arguments.quick else 3),
        seconds=arguments.seconds or (QUICK_SECONDS if arguments.quick else 4),
        repeats=arguments.repeats,
        lock=arguments.lock,
    )


def choose(names: str) -> list[Contender]:
    """Return ours and the contenders of these peers; a name is a peer's or a contender's key, or "all" or "none".

    Raises ConfigurationError for a name that does not exist.
    """
    wanted = set(filter(None, names.split(","))) - {NONE}
    known = {contender.peer for contender in CONTENDERS[1:]} | {contender.key for contender in CONTENDERS[1:]}
    if unknown := wanted - known - {ALL}:
        raise ConfigurationError(f"There is no peer {min(unknown)}. Peers: {', '.join(sorted(known))}, all, none.")
    return [c for c in CONTENDERS if c.key == OURS or ALL in wanted or wanted & {c.peer, c.key}]


def write(run: Run, folder: Path, name: str) -> Path:
    """Write NAME.json, NAME.svg and NAME.md into the folder and return the last."""
    titles = {"peers": "InferenceHub and its peers", "fastapi": "InferenceHub and a FastAPI monolith"}
    page = table.markdown(run, titles.get(name, "A selection"), f"{name}.svg")
    file = results.write(folder, name, run, page)
    file.with_suffix(".svg").write_text(chart.svg(run), encoding="utf-8")
    return file


def _versions_of(contender: Contender) -> str:
    if contender.key == OURS:
        return f"commit {machine.revision()}"
    pins = versions(contender.peer)
    return ", ".join(f"{name} {pins[name]}" for name in INTERESTING if name in pins)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of this verb."""
    parser.add_argument("--peers", default="fastapi", help="all, none, or names with commas (default: fastapi)")
    parser.add_argument("--work", type=_works, default=list(FEATURES), help="tiny,forest (default: both)")
    parser.add_argument("--connections", type=_numbers, default=[1, 32, 128], help="with commas (default: 1,32,128)")
    parser.add_argument("--rounds", type=int, help="how often each server is started and measured (default: 3)")
    parser.add_argument("--seconds", type=int, help="of load for each figure (default: 4)")
    parser.add_argument("--repeats", type=int, default=2, help="of a figure that others disturbed (default: 2)")
    parser.add_argument("--quick", action="store_true", help="1 round of 2 s; does not touch docs/benchmarks")
    parser.add_argument("--check", action="store_true", help="fail when a promise does not hold")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to write (default: docs/benchmarks)")
    parser.add_argument("--lock", type=Path, metavar="FILE", help="hold this file's lock while a server is measured")


def _works(text: str) -> Sequence[str]:
    works = text.split(",")
    if not set(works) <= FEATURES.keys():
        raise argparse.ArgumentTypeError(f"works are {', '.join(FEATURES)}")
    return works


def _numbers(text: str) -> Sequence[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError as error:
        raise argparse.ArgumentTypeError("whole numbers with commas between them are wanted") from error
    if numbers[0] < 1:
        raise argparse.ArgumentTypeError("at least 1 connection is wanted")
    return numbers
