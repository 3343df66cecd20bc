"""What every command that starts a private system has in common: it says why it failed, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from inference_core.errors import ConfigurationError

FAILED, INTERRUPTED = 1, 130


def tell(line: str) -> None:
    """Tell whoever waits how far it is; not on standard output, which is for the result."""
    sys.stderr.write(f"{line}\n")


def keep(file: Path | None, result: object) -> None:
    """Write a result as JSON into the file that --json names, if it was given."""
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(result)))


def measurement(run: Callable[[], int]) -> int:
    """Return what `run` returns; 1 with the reason on standard error, or 130 after Ctrl-C or SIGTERM.

    Both of these end it by an exception, so that its private system is stopped.
    """
    os.umask(0o077)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return run()
    except ConfigurationError as error:
        sys.stderr.write(f"{error.message}\n")
        return FAILED
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; the system of this run is stopped.\n")
        return INTERRUPTED
