"""The Open Inference Protocol as tritonclient sees it: one check for each thing that a client of it relies on.

It runs in an environment of its own, because tritonclient brings the same protobuf names as our stubs. For each check
it prints a JSON line: its name, and what was wrong or null, and how many seconds it took.

    python -m tests.e2e.conformance.run http 127.0.0.1:3000
    python -m tests.e2e.conformance.run grpc 127.0.0.1:3001
    python -m tests.e2e.conformance.run grpc 127.0.0.1:50051 --worker
"""

from __future__ import annotations

import argparse
import json
import sys
import time

from tests.e2e.conformance import descriptions, inferences  # noqa: F401  # they add their checks
from tests.e2e.conformance.server import CHECKS, HTTP_ONLY, Server


def main() -> None:
    """Run every check and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("transport", choices=["http", "grpc"])
    parser.add_argument("address", help="host:port")
    parser.add_argument("--worker", action="store_true", help="the address is a worker's own port")
    arguments = parser.parse_args()
    server = Server(arguments.transport, arguments.address, is_worker=arguments.worker)
    for function in [*CHECKS, *(HTTP_ONLY if server.is_http else ())]:
        wrong: str | None = None
        began = time.monotonic()
        try:
            function(server)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is this check's result
            wrong = f"{type(error).__name__}: {error}"
        sys.stdout.write(
            json.dumps({"check": function.__name__, "wrong": wrong, "seconds": round(time.monotonic() - began, 3)})
            + "\n"
        )


if __name__ == "__main__":
    main()
