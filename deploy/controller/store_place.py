"""Whether the trace store could start where it listens: nothing else is there, nor was Jaeger asked in its place."""

from __future__ import annotations

import socket
from collections.abc import Iterable

from supervisor.states import ProcessStates

from deploy.controller.rpc import Process

STORE, STAND_IN = "tracestore", "jaeger"
HOST = "127.0.0.1"
DOWN = {ProcessStates.STOPPED, ProcessStates.FATAL}


class StorePlace:
    """The trace store's port, which another system's store or a collector may have, and is then left to."""

    def __init__(self, port: int) -> None:
        self._port = port

    def is_free(self, processes: Iterable[Process]) -> bool:
        """Tell whether the store would find its place free, now and while Jaeger is only being restarted."""
        if any(process.name == STAND_IN and process.state not in DOWN for process in processes):
            return False
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, self._port))
            except OSError:
                return False
        return True
