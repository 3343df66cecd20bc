"""The composition root of the trace store's program."""

from __future__ import annotations

import os
import signal
import threading

import structlog

from inference_core.errors import ConfigurationError
from inference_core.file_lock import FileLock
from inference_core.settings import Settings
from otel.metrics import FOLDER, StoreMetrics, open_registry
from otel.store.inbox import Inbox
from otel.store.receiver import Receiver, listening
from otel.store.writer import Writer

STOP_SECONDS = 1.0
WRITE_SECONDS = 5.0
CHECK_SECONDS = 1.0
LOCK = "tracestore.lock"
HELD = "Another trace store writes to this run folder; stop it first (supervisorctl status shows it)."

log = structlog.get_logger()


def serve(settings: Settings) -> bool:
    """Take traces until SIGTERM or SIGINT, and return True; False as soon as nothing writes them any more.

    Raises ConfigurationError where the store cannot start.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    lock = _locked(settings)
    metrics = StoreMetrics(open_registry(settings.run_folder / FOLDER, "tracestore"))
    inbox = Inbox(settings.tracestore.inbox_bytes)
    writer = Writer(settings.trace_file, settings.tracestore, inbox, metrics)
    server = listening(Receiver(inbox, metrics), settings.tracestore.port)
    writer.start()
    log.info("serving", port=settings.tracestore.port, file=str(settings.trace_file), pid=os.getpid())
    is_writing = _until(stop, writer)
    server.stop(STOP_SECONDS).wait()
    inbox.close()
    writer.join(WRITE_SECONDS)
    lock.release()
    if not is_writing:
        log.error("stopped because nothing writes the traces any more")
        return False
    log.info("stopped")
    return True


def _until(stop: threading.Event, writer: threading.Thread) -> bool:
    while not stop.wait(CHECK_SECONDS):
        if not writer.is_alive():
            return False
    return True


def _locked(settings: Settings) -> FileLock:
    folder = settings.run_folder
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return FileLock(folder / LOCK, HELD)
    except OSError as error:
        raise ConfigurationError(f"The run folder {folder} cannot be used: {error.strerror}.") from error
