"""`python -m deploy.bench VERB`: measure InferenceHub on this machine."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from types import FrameType

from deploy.bench import compare, cost, soak
from inference_core.errors import ConfigurationError

VERBS = {"compare": compare.compare, "cost": cost.cost, "soak": soak.soak}
EXAMPLES = """examples:
  python -m deploy.bench compare                        ours and a FastAPI monolith, about 7 minutes
  python -m deploy.bench compare --peers all            and mosec, Triton, LitServe, MLServer, about 25 minutes
  python -m deploy.bench compare --quick --peers none   ours alone, about 30 seconds
  python -m deploy.bench compare --quick --peers triton-2,fastapi --work tiny --connections 1,128
  python -m deploy.bench cost --check                   what tracing, metrics and logs cost, about 8 minutes
  python -m deploy.bench soak --minutes 10 --load 0.8   does memory or latency grow?"""


def main() -> int:
    """Run one verb; return its status, or 1 with the reason on standard error, or 130 after Ctrl-C or SIGTERM."""
    arguments = _parser().parse_args()
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return VERBS[arguments.verb](arguments, _say)
    except ConfigurationError as error:
        sys.stderr.write(f"{error.message}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted; every server that was started has been stopped.\n")
        return 130


def _say(sentence: str) -> None:
    print(sentence, flush=True)  # noqa: T201  # the command's answer


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.bench",
        description="Measure InferenceHub on this machine, against other servers with the same models.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("compare", help="requests per second, latency, CPU and memory, side by side")
    compare.add_arguments(verb)
    cost.add_arguments(verbs.add_parser("cost", help="tracing, metrics and logs off and on: what do they cost?"))
    soak.add_arguments(verbs.add_parser("soak", help="steady load for minutes: does memory or latency grow?"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
