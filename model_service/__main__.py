"""`python -m model_service SLOT`: one inference worker."""

from __future__ import annotations

import argparse
import os
import sys

import structlog
import uvloop

from inference_core import settings as settings_file
from inference_core.errors import ConfigurationError
from model_service.bootstrap import serve
from otel import logs

CANNOT_START = 3


def main() -> int:
    """Run a worker and return the exit status: 0 after a stop, 3 when it cannot start, with the reason in the log."""
    arguments = _parser().parse_args()
    os.umask(0o077)
    logs.configure("inference-worker", "info", slot=arguments.slot)
    try:
        settings = settings_file.load()
        logs.configure("inference-worker", settings.telemetry.log_level, slot=arguments.slot)
        uvloop.run(serve(settings, arguments.slot))
    except ConfigurationError as error:
        structlog.get_logger().error("cannot start", reason=error.message)
        return CANNOT_START
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model_service",
        description="Run one inference worker: gRPC on the slot's Unix socket and on port 50051 + SLOT.",
        epilog="Example: python -m model_service 0   (supervisord starts one for each slot)",
    )
    parser.add_argument("slot", type=int, help="place of this worker, from 0 to inference.workers - 1")
    return parser


if __name__ == "__main__":
    sys.exit(main())
