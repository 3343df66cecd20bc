"""The gunicorn worker of the gateway: uvicorn's server loop under our protocol, with an orderly way out.

This is a composition root: it reads the settings itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
import sys
from types import FrameType
from typing import Any

from gunicorn.arbiter import Arbiter
from uvicorn.config import Config
from uvicorn.server import Server
from uvicorn_worker import UvicornWorker

from gateway.http_connection import Border
from gateway.http_repeating import guarded_protocol
from gateway.replies import LEAVING
from inference_core.settings import load

NOTIFY_SECONDS = 1

logger = logging.getLogger("gateway.http")


def drain_seconds(graceful_timeout: int) -> int:
    """Return how long open requests may take to finish, so that the lifespan can still end before gunicorn kills."""
    return max(graceful_timeout - 1, 1)


def _report_errors() -> None:
    # uvicorn_worker copies gunicorn's handlers and stops propagation; without handlers, errors would vanish.
    errors = logging.getLogger("uvicorn.error")
    errors.propagate = not errors.handlers
    errors.setLevel(logging.WARNING)


def _nothing() -> None:
    """Stand for what an application does that has nothing to close early."""


class GatewayServer(Server):
    """uvicorn's server, which tells connections that are still to come in that it is leaving."""

    def __init__(self, config: Config, border: Border) -> None:
        super().__init__(config)
        self.border = border

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop accepting, let open requests finish, end the lifespan."""
        self.border.draining = True
        self.lifespan.state.get(LEAVING, _nothing)()
        await super().shutdown(sockets)

    def leave_now(self) -> None:
        """Stop without waiting for open requests."""
        self.should_exit = True
        self.force_exit = True


class GatewayWorker(UvicornWorker):  # type: ignore[misc]  # the package ships no types
    """Serves one gateway process; raises ConfigurationError where it is created if the settings cannot be used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _report_errors()
        limits = load().gateway
        protocol = guarded_protocol(limits)
        self.config = Config(
            app="",  # gunicorn loads the application later, in the worker process
            loop="uvloop",
            http=protocol,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=self.cfg.backlog,
            timeout_keep_alive=math.ceil(limits.keep_alive),  # unused by our protocol
            timeout_graceful_shutdown=drain_seconds(self.cfg.graceful_timeout),
            timeout_notify=NOTIFY_SECONDS,
            callback_notify=self.callback_notify,
        )
        self.server = GatewayServer(self.config, protocol.border)

    async def callback_notify(self) -> None:
        """Beat once a second, and leave if gunicorn's arbiter died: nobody else would stop this process."""
        self.notify()
        if os.getppid() != self.ppid:
            logger.error("The gunicorn arbiter is gone; this gateway process finishes its requests and leaves.")
            self.server.should_exit = True

    def handle_stop(self, signal_number: int, frame: FrameType | None) -> None:
        """Begin an orderly stop, also when the signal comes before uvicorn listens for it.

        uvicorn raises the signal once more after its stop; it finds this handler again, so the process exits with 0.
        """
        self.server.handle_exit(signal_number, frame)

    async def _serve(self) -> None:
        self.config.app = self.wsgi
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, self.handle_stop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self.server.leave_now)
        await self.server.serve(sockets=[listener.sock for listener in self.sockets])
        if not self.server.started:
            sys.exit(Arbiter.WORKER_BOOT_ERROR)
