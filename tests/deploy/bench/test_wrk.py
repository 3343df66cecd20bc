"""The load generator and its report."""

from __future__ import annotations

import http.server
import shutil
import threading
from pathlib import Path

import pytest

from deploy.bench import wrk
from inference_core.errors import ConfigurationError

REPORT = """Running 1s test @ http://127.0.0.1:3000/predict
  1 threads and 1 connections
Requests/sec:   1000.00
{"requests":1000,"microseconds":2000000,"p50":800,"p99":4000,"longest":9000,\
"errors":{"connect":1,"read":2,"write":3,"timeout":4,"status":200}}
"""


def test_the_report_is_read() -> None:
    """Every figure of the report arrives, and bad answers are no part of the rate."""
    load = wrk.parse(REPORT)
    assert (load.requests, load.p50, load.p99, load.longest) == (1000, 800, 4000, 9000)
    assert load.errors.total == 210
    assert load.requests_per_second == 400


def test_without_a_report_wrks_own_words_are_shown() -> None:
    """When wrk cannot connect, the reader sees what it said."""
    with pytest.raises(ConfigurationError, match="unable to connect"):
        wrk.parse("", "unable to connect to 127.0.0.1:1 Connection refused\n")


def test_a_missing_wrk_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the load generator is told what to install."""
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ConfigurationError, match="apt-get install wrk"):
        wrk.check_installed()


class Picky(http.server.BaseHTTPRequestHandler):
    """Answers 200 to the body `good`, 503 to any other."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200 if body == b"good" else 503)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_bodies_are_sent_in_turn_and_bad_answers_counted(tmp_path: Path) -> None:
    """A real load of good and bad requests in turn has as many errors as good answers."""
    bodies = tmp_path / "bodies"
    bodies.write_text("good\nbad\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Picky) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        load = wrk.run(f"http://127.0.0.1:{server.server_address[1]}/x", bodies, connections=1, seconds=1)
        server.shutdown()
        thread.join()
    assert load.requests > 10
    assert abs(load.errors.status - load.requests / 2) <= 1
