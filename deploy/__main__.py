"""`python -m deploy VERB`: operate the system on this machine."""

from __future__ import annotations

import argparse
import os
import sys

from deploy.dev import dev
from deploy.up import down, status, up
from inference_core import settings as settings_file
from inference_core.errors import ConfigurationError

VERBS = {"up": up, "dev": dev, "down": down, "status": status}


def main() -> int:
    """Run one verb; return 0, or 1 with the reason on standard error, or 130 after Ctrl-C."""
    arguments = _parser().parse_args()
    os.umask(0o077)  # supervisord opens its own log before it applies the umask of its configuration
    try:
        VERBS[arguments.verb](settings_file.load())
    except ConfigurationError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except BrokenPipeError:  # as in `make status | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; what was started goes on. See `make status`, stop it with `make down`.\n")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy",
        description="Start, stop or look at InferenceHub: supervisord, the gateway and the inference workers.",
        epilog="Examples: python -m deploy up    INFERENCEHUB_SETTINGS=my.toml python -m deploy up",
    )
    parser.add_argument(
        "verb",
        choices=sorted(VERBS),
        help="up: start and wait until ready; dev: the same, and reload code on save; down: stop",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
