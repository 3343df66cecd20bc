"""The gunicorn worker, as real processes."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from gateway.http_worker import drain_seconds
from tests.gateway.http_server import client, gunicorn, read_answer, read_to_end
from tests.gateway.http_vectors import GET, statuses_in
from tests.waiting import wait_for

FETCH = GET + b"\r\n"
Address = tuple[str, int]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[psutil.Process, psutil.Process, Address]]:
    """Return arbiter, worker and address of a gateway with one process that has answered a request."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[gateway]\nkeep_alive = 0.5\nmax_header_bytes = 300\n")
    with gunicorn(settings, "--graceful-timeout", "4") as (popen, address):
        with client(address, seconds=15) as connection:
            connection.sendall(FETCH)
            read_answer(connection)
        arbiter = psutil.Process(popen.pid)
        [worker] = arbiter.children()
        try:
            yield arbiter, worker, address
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process is gone, or only waits for its parent to notice."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


Running = tuple[psutil.Process, psutil.Process, Address]


def test_the_worker_serves_our_protocol_with_the_settings_of_the_file(running: Running) -> None:
    """A limit of the settings file holds, and no answer tells which software gives it."""
    _, _, address = running
    with client(address) as connection:
        connection.sendall(FETCH)
        assert b"\r\nserver:" not in read_answer(connection).lower()
        connection.sendall(GET + b"X: " + b"a" * 300 + b"\r\n\r\n")
        assert statuses_in(read_to_end(connection)) == [431]


def test_forwarded_addresses_are_not_believed(running: Running) -> None:
    """X-Forwarded-Proto and X-Forwarded-Host change nothing, even from this machine."""
    _, _, address = running
    with client(address) as connection:
        connection.sendall(GET + b"X-Forwarded-Proto: https\r\nForwarded: for=1.2.3.4\r\n\r\n")
        answer = read_answer(connection)
    assert statuses_in(answer) == [200]
    assert b'"scheme": "http"' in answer
    assert b'"client": "127.0.0.1"' in answer


def test_a_stop_lets_an_idle_connection_ask_once_more(running: Running) -> None:
    """After SIGTERM the next request on a kept-alive connection is answered, and then the gateway ends with 0."""
    arbiter, worker, address = running
    with client(address) as connection:
        connection.sendall(FETCH)
        read_answer(connection)
        worker.send_signal(signal.SIGTERM)
        connection.sendall(FETCH)
        read_answer(connection)
    assert wait_for(lambda: has_ended(worker), "the worker's end")
    arbiter.send_signal(signal.SIGTERM)
    assert arbiter.wait(10) == 0


def test_a_quick_stop_does_not_wait_for_clients(running: Running) -> None:
    """SIGQUIT ends the worker although a client holds a connection."""
    _, worker, address = running
    with client(address) as connection:
        connection.sendall(FETCH)
        read_answer(connection)
        worker.send_signal(signal.SIGQUIT)
        assert wait_for(lambda: has_ended(worker), "the worker's end", seconds=4)


def test_a_worker_whose_arbiter_died_leaves(running: Running) -> None:
    """No worker stays behind on the port when gunicorn's arbiter is killed."""
    arbiter, worker, _ = running
    arbiter.kill()
    assert wait_for(lambda: has_ended(worker), "the worker's end", seconds=8)


def test_a_worker_that_cannot_read_its_settings_ends_the_start(tmp_path: Path) -> None:
    """A wrong key is not retried for ever: gunicorn itself ends with an error."""
    settings = tmp_path / "settings.toml"
    settings.write_text("[gateway]\nmax_heders = 3\n")
    with gunicorn(settings) as (popen, _):
        assert popen.wait(15) != 0


@pytest.mark.parametrize(("graceful", "drain"), [(15, 14), (2, 1), (1, 1)])
def test_the_drain_fits_into_gunicorns_patience(graceful: int, drain: int) -> None:
    """Open requests are given up before gunicorn kills the process, as far as whole seconds allow."""
    assert drain_seconds(graceful) == drain
