"""`python -m deploy.load URL`: send requests at a fixed rate, whatever comes back, and say what came back."""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import signal
import sys
import urllib.parse
from pathlib import Path

import msgspec
import uvloop

from deploy.load.generator import Generator
from deploy.load.plan import MOST_REQUESTS, Plan
from deploy.load.records import Records, status_name, write
from deploy.load.report import Report, report, text
from inference_core.errors import ConfigurationError

PROGRESS_SECONDS = 1.0
INTERRUPTED = 130


def main() -> int:
    """Run a plan; return 0 where every answer was as expected, 1 where not, 2 without a run, 130 after Ctrl-C."""
    arguments = _parser().parse_args()
    try:
        plan = _plan(arguments)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            records, outcome, interrupted = runner.run(_run(plan, quiet=arguments.json))
    except ConfigurationError as error:
        sys.stderr.write(f"{error.message}\n")
        return 2
    if arguments.records:
        write(arguments.records, records)
    sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n" if arguments.json else text(outcome))
    if interrupted:
        return INTERRUPTED
    return 1 if outcome.total.failed else 0


async def _run(plan: Plan, *, quiet: bool) -> tuple[Records, Report, bool]:
    _raise_limits()
    generator = Generator(plan)
    interrupted = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, generator.stop)
    loop.add_signal_handler(signal.SIGINT, interrupted.set)
    interruption = loop.create_task(_abandon_when(interrupted, generator))
    progress = None if quiet else loop.create_task(_progress(generator))
    try:
        await generator.open()
        # Whoever started this process waits for the line.
        sys.stderr.write(
            f"Sending about {plan.expected_requests:.0f} requests in {plan.seconds:g} s, seed {plan.seed}.\n"
        )
        records = await generator.run()
    except OSError as error:
        raise ConfigurationError(
            f"{plan.host}:{plan.port} takes no connections ({error.strerror or error}); is it up? See make status."
        ) from error
    finally:
        interruption.cancel()
        if progress:
            progress.cancel()
    samples = {
        f"{plan.kinds[kind].name} {status_name(status)}": body.decode("latin-1").rpartition("\r\n\r\n")[2]
        for (kind, status), body in generator.samples.items()
    }
    return records, report(plan, records, generator.most_connections, samples), interrupted.is_set()


async def _abandon_when(interrupted: asyncio.Event, generator: Generator) -> None:
    await interrupted.wait()
    generator.abandon()


async def _progress(generator: Generator) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        due, done, total = generator.progress
        sys.stderr.write(f"{due} of {total} requests sent, {due - done} unanswered\n")


def _raise_limits() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.disable()  # a collection would be measured as the server's latency, and little here is cyclic


def _plan(arguments: argparse.Namespace) -> Plan:
    try:
        if arguments.plan:
            plan = msgspec.json.decode(arguments.plan.read_bytes(), type=Plan)
        else:
            plan = _plan_of_url(arguments)
    except (msgspec.MsgspecError, OSError, ValueError) as error:
        raise ConfigurationError(f"The plan cannot be used: {error}") from error
    if plan.expected_requests > MOST_REQUESTS:
        raise ConfigurationError(f"{plan.expected_requests:.0f} requests are too many; {MOST_REQUESTS} is the most.")
    return plan


def _plan_of_url(arguments: argparse.Namespace) -> Plan:
    if not arguments.url:
        raise ConfigurationError("Give a URL, such as http://localhost:3000/predict, or --plan FILE.")
    url = urllib.parse.urlsplit(arguments.url)
    if url.scheme != "http" or not url.hostname:
        raise ConfigurationError(f"{arguments.url} is no http:// URL.")
    headers = dict(line.split(":", 1) for line in arguments.header)
    kind = {
        "name": "request",
        "body": arguments.body,
        "headers": {name: value.strip() for name, value in headers.items()},
        "path": url.path or "/",
    }
    document = {
        "host": url.hostname,
        "port": url.port or 80,
        "kinds": [kind],
        "stages": [{"rate": arguments.rate, "seconds": arguments.seconds}],
        "seed": arguments.seed,
        "arrivals": arguments.arrivals,
        "connections": arguments.connections,
        "most_connections": arguments.most_connections,
        "patience": arguments.patience,
    }
    return msgspec.convert(document, Plan)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.load",
        description=(
            "Send requests open loop: each leaves when it is due, whatever became of those before it, and its latency "
            "counts from then. Ctrl-C ends it at once, with the figures so far."
        ),
        epilog=(
            'Examples: python -m deploy.load http://localhost:3000/predict --body \'{"prompt": "fine"}\' --rate 300; '
            "taskset -c 1 python -m deploy.load --plan plan.json --json"
        ),
    )
    add = parser.add_argument
    add("url", nargs="?", help="where to send; not with --plan")
    add("--body", default="", help="JSON to POST; without it the requests are GETs")
    add("--header", action="append", default=[], metavar="NAME:VALUE", help="may be given several times")
    add("--rate", type=float, default=100.0, help="requests per second (default 100)")
    add("--seconds", type=float, default=10.0, help="how long (default 10)")
    add("--arrivals", choices=("poisson", "fixed"), default="poisson", help="gaps drawn at random, or all the same")
    add("--seed", type=int, default=1, help="of the arrivals and the mix (default 1)")
    add("--connections", type=int, default=16, help="opened before the start (default 16)")
    add("--most-connections", type=int, default=1024, help="opened on demand (default up to 1024)")
    add("--patience", type=float, default=10.0, help="seconds after which a client gives up (default 10)")
    add(
        "--plan",
        type=Path,
        metavar="FILE",
        help="a whole plan as JSON: kinds, stages, limits (see deploy/load/plan.py)",
    )
    add("--records", type=Path, metavar="FILE", help="write what became of each request, as numpy columns (.npz)")
    add("--json", action="store_true", help="print the figures as JSON, and no progress")
    return parser


if __name__ == "__main__":
    sys.exit(main())
