"""`python -m otel.store [VERB]`: the embedded trace store, and the commands that ask it."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import grpc
import structlog

from inference_core import settings as settings_file
from inference_core.errors import ConfigurationError, InferenceHubError, InputTooLarge, InvalidInput
from inference_core.settings import Settings
from otel import logs
from otel.store.otlp_json import from_json, to_json
from otel.store.query import FAILED, Search, StoredTraces
from otel.store.sending import send
from otel.store.serving import serve
from otel.store.text import found_text
from otel.store.why import why

CANNOT_START, CANNOT_WRITE = 3, 4
NOTHING_FOUND, USAGE = 1, 2
GIVES_WAY = 10
"""How much nicer the store is than who serves: spans can wait, and what a store that lags cannot take is counted."""

LARGEST_BYTES = 64 * 1024 * 1024
STANDARD_INPUT = "-"
KEPT = ("rate", "ratio", "flag", "failed", "refused", "slow", "replayed")
HTTP_STATUS = re.compile("[1-5][0-9]{2}")
GRPC_STATUSES = [code.name for code in grpc.StatusCode]
EXAMPLES = """examples:
  python -m otel.store                                  take spans (supervisord starts it)
  python -m otel.store find --request-id order-66       the traces of a request
  python -m otel.store find --status failed --hours 2   what failed lately
  python -m otel.store find --model digits --slower-than 0.5
  python -m otel.store export 4bf92f3577b34da6a3ce929d0e0e4736 > trace.json
  python -m otel.store replay trace.json --endpoint http://127.0.0.1:4317
  python -m otel.store why sentiment --minutes 15       where the time goes, and what changed
The same as a verb of make: make traces ARGS="find --status failed"
"""


def main() -> int:
    """Run a verb and return 0, or 1 where nothing was found or the reason is on standard error.

    Without a verb: 3 for a failed start, 4 for a writer that died.
    """
    arguments = _parser().parse_args()
    os.umask(0o077)
    if arguments.verb is None:
        return _serve()
    try:
        return VERBS[arguments.verb](settings_file.load(), arguments)
    except InferenceHubError as error:
        sys.stderr.write(f"{error.message}\n")
        return NOTHING_FOUND
    except BrokenPipeError:
        # The reader of our output has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _serve() -> int:
    os.nice(GIVES_WAY)
    logs.configure("tracestore", "info")
    try:
        settings = settings_file.load()
        logs.configure("tracestore", settings.telemetry.log_level)
        return 0 if serve(settings) else CANNOT_WRITE
    except ConfigurationError as error:
        structlog.get_logger().error("cannot start", reason=error.message)
        return CANNOT_START


def _find(settings: Settings, arguments: argparse.Namespace) -> int:
    search = Search(
        request_id=arguments.request_id,
        model=arguments.model,
        status=arguments.status,
        kept=arguments.kept,
        slower_than=arguments.slower_than,
        since=None if arguments.hours is None else time.time() - arguments.hours * 3600,
        order="slowest" if arguments.slowest else "newest",
        limit=arguments.limit,
    )
    found = StoredTraces(settings.trace_file).search(search)
    sys.stdout.write(found_text(found))
    return 0 if found else NOTHING_FOUND


def _export(settings: Settings, arguments: argparse.Namespace) -> int:
    traces = StoredTraces(settings.trace_file).trace(arguments.trace_id)
    if traces is None:
        sys.stderr.write(f"There is no trace {arguments.trace_id} here; an id has 32 digits, and `find` lists them.\n")
        return NOTHING_FOUND
    sys.stdout.write(to_json(traces) + "\n")
    return 0


def _replay(settings: Settings, arguments: argparse.Namespace) -> int:
    endpoint = arguments.endpoint or settings.telemetry.otlp_endpoint
    if not endpoint:
        sys.stderr.write("telemetry.otlp_endpoint is empty: say where to with --endpoint http://127.0.0.1:4317\n")
        return USAGE
    # All of the file is understood before any of it is sent.
    traces = from_json(_text_of(arguments.file))
    sys.stdout.write(f"{endpoint} took {send(traces, endpoint)} spans.\n")
    return 0


def _text_of(name: str) -> str:
    try:
        data = _bytes_of(name)
    except OSError as error:
        raise InvalidInput(f"{name} cannot be read: {error.strerror}.") from error
    if len(data) > LARGEST_BYTES:
        raise InputTooLarge(f"{name} has more than {LARGEST_BYTES} bytes; send it in parts, of whole lines each.")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{name} is not OTLP JSON: its byte {error.start} is not UTF-8.") from error


def _bytes_of(name: str) -> bytes:
    if name == STANDARD_INPUT:
        return sys.stdin.buffer.read(LARGEST_BYTES + 1)
    # Opening a FIFO would wait for ever, and a device may have no end.
    if Path(name).exists() and not Path(name).is_file():
        raise InvalidInput(f"{name} is not a regular file; to read a pipe, give - and redirect it to standard input.")
    with Path(name).open("rb") as file:
        return file.read(LARGEST_BYTES + 1)


def _why(settings: Settings, arguments: argparse.Namespace) -> int:
    text = why(StoredTraces(settings.trace_file), arguments.model, arguments.minutes)
    sys.stdout.write(text)
    return 0


VERBS: Mapping[str, Callable[[Settings, argparse.Namespace], int]] = {
    "find": _find,
    "export": _export,
    "replay": _replay,
    "why": _why,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m otel.store",
        description="Keep traces in one SQLite file, and ask it. Without a verb: take spans over OTLP until stopped.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB")
    _add_find(verbs.add_parser("find", help="list requests by id, model, status, duration"))
    export = verbs.add_parser("export", help="write a trace as OTLP JSON")
    export.add_argument("trace_id", help="32 hexadecimal digits, as in X-Trace-Id and in the logs")
    replay = verbs.add_parser("replay", help="send a file of OTLP JSON to a collector")
    replay.add_argument("file", help="what export wrote, one JSON object or one in each line; - for standard input")
    replay.add_argument("--endpoint", default="", help="http://host:port (default: telemetry.otlp_endpoint)")
    reasons = verbs.add_parser("why", help="where a model's time goes, and what changed since the hour before")
    reasons.add_argument("model")
    reasons.add_argument("--minutes", type=float, default=15.0, help="how far back to look (default 15)")
    return parser


def _add_find(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--request-id", default="", help="as in X-Request-Id and in the logs")
    parser.add_argument("--model", default="")
    parser.add_argument("--status", type=_status, default="", help="an HTTP status, a gRPC status name, or failed")
    parser.add_argument("--kept", choices=KEPT, default="", help=f"why it was kept: {', '.join(KEPT)}", metavar="WHY")
    parser.add_argument("--slower-than", type=float, default=None, metavar="SECONDS")
    parser.add_argument("--hours", type=float, default=None, help="only the last hours")
    parser.add_argument("--slowest", action="store_true", help="slowest first instead of newest first")
    parser.add_argument("--limit", type=int, default=20, help="at most so many (default 20)")


def _status(text: str) -> str:
    if not text or HTTP_STATUS.fullmatch(text) or text.lower() == FAILED:
        return text.lower()
    if text.upper() in GRPC_STATUSES:
        return text.upper()
    known = f"{FAILED}, an HTTP status such as 503, or one of gRPC's: {', '.join(GRPC_STATUSES)}"
    raise argparse.ArgumentTypeError(f"{text!r} is no status; there are {known}")


if __name__ == "__main__":
    sys.exit(main())
