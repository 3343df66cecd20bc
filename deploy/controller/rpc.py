"""supervisord's XML-RPC over its Unix socket, with a time-out on every call.

supervisor's own SupervisorTransport has no time-out and is unusable after its first failure, so this is the standard
library's transport, which closes its connection then and opens another for the next call.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import xmlrpc.client
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

import msgspec
from supervisor.states import ProcessStates

TIMEOUT_SECONDS = 1.0
NO_WAIT = False


class Unreachable(Exception):
    """supervisord did not answer, or is on its way out."""


class Refused(Exception):
    """supervisord answered that it will not do this now."""


class Process(msgspec.Struct, frozen=True):
    """An entry of getAllProcessInfo; `pid` is 0 while the program is down, `state` one of ProcessStates."""

    name: str
    group: str
    state: int
    pid: int
    stdout_logfile: str = ""

    @property
    def address(self) -> str:
        """What supervisord's methods call it."""
        return f"{self.group}:{self.name}"

    @property
    def is_running(self) -> bool:
        """Whether it has run for its startsecs."""
        return bool(self.state == ProcessStates.RUNNING)


class Supervisord:
    """A client of one supervisord. Calls take turns in one thread, so that a stopped supervisord costs one thread."""

    def __init__(self, path: Path, timeout: float = TIMEOUT_SECONDS) -> None:
        self._transport = _Transport(path, timeout)
        self._proxy = xmlrpc.client.ServerProxy("http://localhost", transport=self._transport)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="supervisord")

    async def processes(self) -> list[Process]:
        """Return what supervisord knows of every program; raises Unreachable."""
        try:
            return msgspec.convert(await self._call(self._proxy.supervisor.getAllProcessInfo), list[Process])
        except (Refused, msgspec.ValidationError) as error:
            raise Unreachable(str(error)) from error

    async def start(self, address: str) -> None:
        """Start a program that is down, without waiting until it runs; raises Unreachable, Refused."""
        await self._call(lambda: self._proxy.supervisor.startProcess(address, NO_WAIT))

    async def start_again(self, address: str) -> None:
        """Start a program that waits in BACKOFF at once; raises Unreachable, Refused.

        One that a person has stopped meanwhile is STOPPED afterwards too.
        """
        # One request for both: a caller that died between them would leave the program STOPPED for good.
        calls = [
            {"methodName": "supervisor.getProcessInfo", "params": [address]},
            {"methodName": "supervisor.stopProcess", "params": [address, NO_WAIT]},
            {"methodName": "supervisor.startProcess", "params": [address, NO_WAIT]},
        ]
        before, _, started = await self._call(lambda: self._proxy.system.multicall(calls))
        if before.get("state") == ProcessStates.STOPPED:
            # Also after a start that failed: that leaves the program in BACKOFF, or is refused here and STOPPED still.
            with contextlib.suppress(Refused):
                await self._call(lambda: self._proxy.supervisor.stopProcess(address, NO_WAIT))
        if started is not True:
            raise Refused(started["faultString"])

    def close(self) -> None:
        """Close the connection after the call that may be under way, which ends within its time-out."""
        self._thread.submit(self._transport.close)
        self._thread.shutdown()

    async def _call(self, method: Callable[[], Any]) -> Any:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, method)
        except xmlrpc.client.Fault as fault:
            raise Refused(fault.faultString) from fault
        except (OSError, http.client.HTTPException, xmlrpc.client.Error, ExpatError) as error:
            raise Unreachable(str(error) or type(error).__name__) from error


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__()
        self._path, self._timeout = path, timeout

    def make_connection(self, host: xmlrpc.client._HostType) -> http.client.HTTPConnection:
        # `close()` of the base class closes what it finds in `_connection`.
        connection = self._connection[1] or _UnixConnection(self._path, self._timeout)
        self._connection = host, connection
        return connection


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
