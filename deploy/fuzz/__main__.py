"""python -m deploy.fuzz: start a private system and let schemathesis look for answers that are not as described."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from deploy.pinned import cache_folder, environment_from
from deploy.trial import trial
from inference_core.errors import ConfigurationError

HERE = Path(__file__).parent
EXAMPLES = """
  python -m deploy.fuzz                          60 seconds, all checks
  python -m deploy.fuzz --seconds 10             a first look
  python -m deploy.fuzz -- --seed 42             what follows -- is schemathesis's own
"""


def main() -> int:
    """Return schemathesis's exit status: 0 where every answer was as /openapi.json describes it."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.fuzz",
        description="Fuzz every route of a private system by its own description; needs no running one.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: %(default)s)")
    parser.add_argument("options", nargs="*", help="options for schemathesis, behind --")
    arguments = parser.parse_args()
    try:
        return fuzz(arguments.seconds, arguments.options)
    except ConfigurationError as error:
        parser.exit(1, f"{error.message}\n")


def fuzz(seconds: int, options: list[str]) -> int:
    """Run it; raises ConfigurationError where the system or schemathesis cannot be had."""
    python = environment_from(HERE / "requirements.txt", "schemathesis", cache_folder("fuzz"), print)
    command = [str(python), "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "run"]
    choices = ["--checks", "all", "--continue-on-failure", "--max-time", str(seconds), *options]
    system = trial({"inference": {"mock_latency": 0.0}, "telemetry": {"otlp_endpoint": ""}})
    # It leaves a folder of its own behind, and that is not to be the checkout.
    with system as running, tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(  # noqa: S603  # our own arguments
            [*command, f"{running.url}/openapi.json", *choices], check=False, cwd=folder
        )
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
