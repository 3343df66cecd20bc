"""`python -m deploy.controller`: the composition root of the program that watches the others."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Callable

import msgspec
import structlog

from deploy.controller.crash_loops import CrashLoops
from deploy.controller.history import History
from deploy.controller.log_follower import LogFollower
from deploy.controller.loop import ControlLoop
from deploy.controller.meters import Meters
from deploy.controller.probes import Probe
from deploy.controller.recorder import Recorder
from deploy.controller.reviver import Reviver
from deploy.controller.roster import Roster
from deploy.controller.rpc import Supervisord
from deploy.controller.state import StateFile
from deploy.controller.store_place import StorePlace
from inference_core import settings as settings_file
from inference_core.errors import ConfigurationError
from inference_core.settings import Settings
from otel import logs
from otel.lives import Exit
from otel.metrics import FOLDER, ControllerMetrics, open_registry

CANNOT_START = 3
LOG_BACKUPS = 3  # logfile_backups in supervisord.conf

log = structlog.get_logger()


def main() -> int:
    """Watch until SIGTERM or SIGINT and return 0, or 3 with the reason in the log when that cannot begin."""
    _parser().parse_args()
    os.umask(0o077)
    logs.configure("controller", "info")
    try:
        settings = settings_file.load()
        logs.configure("controller", settings.telemetry.log_level)
        asyncio.run(_watch(settings))
    except ConfigurationError as error:
        structlog.get_logger().error("cannot start", reason=error.message)
        return CANNOT_START
    return 0


async def _watch(settings: Settings) -> None:
    control, slots = _control_loop(settings), settings.inference.workers
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, control.stop)
    log.info("watching", slots=slots, pid=os.getpid())
    timeout = settings.controller.probe_timeout
    await control.run(lambda slot: Probe(settings.worker_socket(slot), timeout), slots)
    log.info("stopped")


def _control_loop(settings: Settings) -> ControlLoop:
    folder = settings.run_folder
    states = StateFile(folder)
    history = _history(settings)
    meters = Meters(ControllerMetrics(open_registry(folder / FOLDER, "controller")))
    supervisord = Supervisord(folder / "supervisor.sock")
    roster = Roster(settings.controller)
    follower = LogFollower(folder / "logs" / "supervisord.log", LOG_BACKUPS)
    recorder = Recorder(folder / "logs", follower, history, _announcer(meters))
    place = StorePlace(settings.tracestore.port)
    reviver = Reviver(settings.controller, folder, supervisord, roster, history, place)
    return ControlLoop(settings.controller, supervisord, roster, recorder, reviver, states, meters)


def _history(settings: Settings) -> History:
    try:
        return History(settings.run_folder)
    except OSError as error:
        raise ConfigurationError(f"The run folder {settings.run_folder} cannot be used: {error.strerror}.") from error


def _announcer(meters: Meters) -> Callable[[Exit], None]:
    loops = CrashLoops()

    def announce(exit_: Exit) -> None:
        meters.ended(exit_)
        say = log.info if exit_.expected else log.warning
        say("exit", **msgspec.structs.asdict(exit_))
        if rate := loops.note(exit_):
            log.error("crash loop", process=exit_.process, exits_per_minute=rate, reason=exit_.reason)

    return announce


def _parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="python -m deploy.controller",
        description="Watch the running programs: quick respawns, hung workers, exits. supervisord starts it.",
        epilog="Example: .venv/bin/supervisorctl restart controller   (serving goes on meanwhile)",
    )


if __name__ == "__main__":
    sys.exit(main())
