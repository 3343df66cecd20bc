"""`python -m deploy.logs`: the logs of all programs as one, the newest last, in colour on a terminal."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from deploy.controller.log_follower import LogFollower, Position
from deploy.log_lines import LEVELS, Choice, Line, read_line, shown
from inference_core.errors import ConfigurationError
from inference_core.settings import load

POLL_SECONDS = 0.2
FIRST_LINES = 10
BACKUPS = 5  # as many as supervisord.conf keeps
EXAMPLES = """examples:
  make logs                                         follow everything
  make logs ARGS="--trace 4bf92f35"                 what both programs said of one request, then whatever follows
  make logs ARGS="--model digits --level warning"   what went wrong with a model
  make logs ARGS="--program inference --no-follow"  the workers' last lines
  make logs ARGS="--level error --json" | jq .event the lines as they were written"""


def _pause() -> None:
    time.sleep(POLL_SECONDS)


def main() -> int:
    """Show lines until Ctrl-C; return 0, or 1 with the reason on standard error."""
    arguments = _parser().parse_args()
    try:
        with contextlib.suppress(KeyboardInterrupt, BrokenPipeError):
            _show(log_files(load().run_folder / "logs"), arguments)
    except ConfigurationError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    return 0


def log_files(folder: Path) -> Mapping[Path, str]:
    """Return the process that each log file is of; raises ConfigurationError where there are none."""
    files = {file: file.stem for file in sorted(folder.glob("*.log"))}
    if not files:
        raise ConfigurationError(f"There are no logs in {folder} yet; start with make up.")
    return files


def merged(
    files: Mapping[Path, str], first_lines: int | None, *, follows: bool, pause: Callable[[], None] = _pause
) -> Iterator[Line]:
    """Yield the last lines of all files and then those that come, across rotations, sorted where they come together.

    `first_lines` are taken of each file, all where it is None.
    """
    followed = [Followed(file, source) for file, source in files.items()]
    yield from _sorted(deque(each.lines(), maxlen=first_lines) for each in followed)
    while follows:
        pause()
        yield from _sorted(each.lines() for each in followed)


class Followed:
    """One log file and up to where it was read."""

    def __init__(self, file: Path, source: str) -> None:
        self._follower = LogFollower(file, BACKUPS)
        self._source = source
        self._position = Position()

    def lines(self) -> Iterator[Line]:
        """Yield what came since the last call."""
        texts, self._position = self._follower.read(self._position)
        while texts:
            yield from [read_line(self._source, text) for text in texts if text]
            texts, self._position = self._follower.read(self._position)


def _sorted(parts: Iterable[Iterable[Line]]) -> list[Line]:
    return sorted((line for part in parts for line in part), key=lambda line: line.time)


def _show(files: Mapping[Path, str], arguments: argparse.Namespace) -> None:
    if not any(source.startswith(arguments.program) for source in files.values()):
        raise ConfigurationError(f"No program is called {arguments.program}; there are {', '.join(files.values())}.")
    choice = Choice(arguments.trace, arguments.request, arguments.model, arguments.program, arguments.level)
    first_lines = arguments.lines or (None if choice.searches else FIRST_LINES)
    is_coloured = arguments.colour == "always" or (arguments.colour == "auto" and _wants_colour())
    show = shown(coloured=is_coloured, width=max(len(source) for source in files.values()))
    if arguments.follow:
        sys.stderr.write(f"Following {len(files)} files; Ctrl-C ends it.\n")
    is_found = False
    for line in filter(choice.takes, merged(files, first_lines, follows=arguments.follow)):
        is_found = True
        sys.stdout.write(f"{line.text if arguments.json else show(line)}\n")
        sys.stdout.flush()
    if not is_found:
        sys.stderr.write("No line matches. Lines of successes are kept up to a rate: docs/LOGS.md.\n")


def _wants_colour() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")  # https://no-color.org


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.logs",
        description="Show the logs of gateway, workers and all other programs as one. Fields: docs/LOGS.md.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--trace", default="", metavar="ID", help="only lines of a trace; its first digits will do")
    parser.add_argument("--request", default="", metavar="ID", help="only lines of a request, by its X-Request-ID")
    parser.add_argument("--model", default="", metavar="NAME", help="only lines about a model")
    parser.add_argument("--program", default="", metavar="NAME", help="only lines of gateway, inference-1, ...")
    parser.add_argument("--level", default=LEVELS[0], choices=LEVELS, help="this level and above (default: debug)")
    parser.add_argument("--lines", type=_count, default=0, metavar="N", help=_LINES_HELP)
    parser.add_argument("--no-follow", dest="follow", action="store_false", help="end after what is there")
    parser.add_argument("--json", action="store_true", help="the lines as they stand in the files")
    parser.add_argument("--colour", default="auto", choices=("auto", "always", "never"), help="(default: auto)")
    return parser


_LINES_HELP = f"begin with the last N lines of each file (default: {FIRST_LINES}; all where an id or a model is given)"


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of lines; give 1 or more")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
