"""The store as a program: it survives kill -9, shares with nobody, and its commands find what it took."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from inference_core.settings import CHECKOUT
from otel.store.__main__ import GIVES_WAY, LARGEST_BYTES
from otel.store.text import NOTHING
from tests.otel.store.made import request, spans_of, trace_id
from tests.otel.store.process import Folder, folder, running, send
from tests.waiting import wait_for

FILE_BYTES = 300_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """Run a store with three requests in it."""
    where = folder(tmp_path_factory.mktemp("served"))
    with running(where):
        for number, status in ((1, 200), (2, 502), (3, 200)):
            send(where, *request(number, status=status))
        wait_for(lambda: len(where.stored()) == 3, "three stored requests")
        yield where


def test_a_killed_store_keeps_what_it_committed(tmp_path: Path) -> None:
    """After kill -9 in the middle of a load the file opens again, whole, with every request that was seen in it."""
    where = folder(tmp_path)
    with running(where) as first:
        for number in range(1, 200):
            send(where, *request(number))
        seen = wait_for(where.stored, "stored requests")
        send(where, *request(200))
        os.kill(first.pid, signal.SIGKILL)
        first.wait()
    with running(where):
        send(where, *request(201))
        wait_for(lambda: where.traces.of_request("request-201"), "a trace of the second store")
        after = {found.trace_id for found in where.stored()}
        assert {found.trace_id for found in seen} <= after
    with sqlite3.connect(tmp_path / "run" / "traces.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_who_serves_goes_first(tmp_path: Path) -> None:
    """The store is nicer than the programs beside it; the threads that take and write spans inherit that."""
    where = folder(tmp_path)
    with running(where) as process:
        assert psutil.Process(process.pid).nice() == os.nice(0) + GIVES_WAY


def test_a_stop_writes_what_was_taken(tmp_path: Path) -> None:
    """Every export that was acknowledged before SIGTERM is in the file after it."""
    where = folder(tmp_path)
    with running(where) as process:
        for number in range(1, 51):
            send(where, *request(number))
        process.terminate()
        assert process.wait(10) == 0
    assert len(where.stored()) == 50


def test_a_port_that_is_taken_is_named(served: Folder, tmp_path: Path) -> None:
    """A store that finds Jaeger or another store at its port says so and leaves."""
    other = Folder(tmp_path, served.port)
    text = (served.path / "settings.toml").read_text().replace(str(served.path), str(tmp_path))
    (tmp_path / "settings.toml").write_text(text)
    done = other.ask()
    assert done.returncode == 3
    assert f"127.0.0.1:{served.port} cannot be used" in json.loads(done.stdout)["reason"]


def test_two_stores_never_share_a_file(served: Folder) -> None:
    """A second store in the same run folder leaves at once."""
    done = served.ask()
    assert done.returncode == 3
    assert "Another trace store writes to this run folder" in json.loads(done.stdout)["reason"]


def test_only_loopback_is_listened_on(served: Folder) -> None:
    """Nothing of the store can be reached from another machine."""
    listening = [
        tuple(connection.laddr)
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and served.port in tuple(connection.laddr)
    ]
    # gRPC opens an IPv6 socket and maps the IPv4 address into it.
    assert listening == [("::ffff:127.0.0.1", served.port)]


def test_the_file_is_for_its_owner_alone(served: Folder) -> None:
    """Traces may tell of requests, and no other user reads them."""
    for file in (served.path / "run").glob("traces*"):
        assert file.stat().st_mode & 0o077 == 0, file


def test_a_file_size_limit_is_a_full_disk(tmp_path: Path) -> None:
    """A store that may not write on loses spans, says so once, and goes on taking exports."""
    where = folder(tmp_path)
    with running(where, "prlimit", f"--fsize={FILE_BYTES}", "--") as process:
        for number in range(1, 400):
            send(where, *request(number))
        wait_for(lambda: any(line["event"] == "traces cannot be written" for line in where.lines()), "a complaint")
        assert process.poll() is None
        send(where, *request(400))
        assert where.traces.of_request("request-1")
    assert len([line for line in where.lines() if line["event"] == "traces cannot be written"]) == 1


def test_a_store_whose_writer_died_ends_with_an_error(tmp_path: Path) -> None:
    """Nobody takes spans that nothing writes: the program ends, and supervisord starts it again."""
    broken = "sys.argv = ['store']; writer.Writer._prune = None; sys.exit(main())"
    program = f"import sys; from otel.store import writer; from otel.store.__main__ import main; {broken}"
    done = subprocess.run(
        [sys.executable, "-c", program], env=folder(tmp_path).environment(), cwd=CHECKOUT,
        capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 4
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "stopped because nothing writes the traces any more"


def test_find_lists_what_is_meant(served: Folder) -> None:
    """Found requests are lines with ids; where there are none the exit status says so."""
    failed = served.ask("find", "--status", "failed")
    assert failed.returncode == 0
    assert "request-2" in failed.stdout
    assert "request-1" not in failed.stdout
    nothing = served.ask("find", "--request-id", "nobody")
    assert (nothing.returncode, nothing.stdout) == (1, NOTHING)


def test_a_trace_moves_by_export_and_replay(served: Folder, tmp_path: Path) -> None:
    """What one store exports another one takes, and both have the same trace."""
    exported = served.ask("export", trace_id(2).hex())
    assert exported.returncode == 0
    other = folder(tmp_path)
    with running(other):
        (tmp_path / "trace.json").write_text(exported.stdout)
        replayed = served.ask("replay", str(tmp_path / "trace.json"), "--endpoint", f"http://127.0.0.1:{other.port}")
        assert replayed.stdout == f"http://127.0.0.1:{other.port} took 5 spans.\n"
        wait_for(lambda: len(other.stored()) == 1, "the replayed trace")
        traces = [where.traces.trace(trace_id(2).hex()) for where in (served, other)]
        spans = [spans_of(trace) for trace in traces if trace is not None]
        assert len(spans[0]) == 5
        assert spans[0] == spans[1]


def hostile_files(where: Path) -> dict[str, Path]:
    """Write files that nobody should replay."""
    good = '{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "%s", "spanId": "00f067aa0ba902b7"}]}]}]}'
    texts = {
        "words": b"hello\n",
        "nested": b"[" * 1_000_000,
        "types": b'{"resourceSpans": {"spans": 1}}',
        "ids": (good % ("zz" * 16)).encode(),
        "second": f"{good % ('4b' * 16)}\n{good % '4b'}\n".encode(),
        "binary": bytes(range(256)),
        "archive": b"\x1f\x8b\x08\x00",
        "empty": b"",
    }
    files = {name: where / name for name in (*texts, "huge", "fifo", "folder", "missing")}
    for name, text in texts.items():
        files[name].write_bytes(text)
    with files["huge"].open("wb") as huge:
        huge.truncate(LARGEST_BYTES + 1)
    os.mkfifo(files["fifo"])
    files["folder"].mkdir()
    return files


def test_hostile_files_are_refused_whole(served: Folder, tmp_path: Path) -> None:
    """Each gets one sentence and status 1, and nothing of it is stored, not even the good line before a bad one."""
    before = served.stored()
    files = hostile_files(tmp_path)
    for name, file in files.items():
        done = served.ask("replay", str(file))
        assert (done.returncode, done.stdout) == (1, ""), name
        assert len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.endswith(".\n"), done.stderr
    assert served.stored() == before
    assert len(files) == 12


def test_a_status_that_there_is_none_of_is_named_with_those_there_are(served: Folder) -> None:
    """A mistyped word is a mistake and no empty answer; a known one is found in any case of its letters."""
    done = served.ask("find", "--status", "fialed")
    assert done.returncode == 2
    assert "'fialed' is no status; there are failed, an HTTP status such as 503, or one of gRPC's: OK," in done.stderr
    assert "request-2" in served.ask("find", "--status", "FAILED").stdout
    assert "request-2" in served.ask("find", "--status", "502").stdout
    assert served.ask("find", "--status", "unavailable").stdout == NOTHING
    done = served.ask("find", "--kept", "slwo")
    assert done.returncode == 2
    assert "invalid choice: 'slwo' (choose from 'rate', " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("export", "f" * 32), "There is no trace"),
        (("replay", "/nowhere"), "cannot be read"),
        (("replay", "-", "--endpoint", "127.0.0.1:1"), "The file is empty."),
        (("why", "nobody"), "Models with stored traces: m."),
    ],
)
def test_what_cannot_be_done_is_said(served: Folder, arguments: tuple[str, ...], said: str) -> None:
    """Errors are a sentence on standard error and an exit status, never a traceback."""
    done = served.ask(*arguments)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_help_has_examples(served: Folder) -> None:
    """--help shows each verb in use."""
    helped = served.ask("--help").stdout
    for verb in ("find", "export", "replay", "why"):
        assert f"python -m otel.store {verb}" in helped


def test_a_reader_that_has_seen_enough_is_no_error(served: Folder) -> None:
    """`find | head -0` ends quietly."""
    command = "set -o pipefail; python -m otel.store find | true"
    done = subprocess.run(
        ["bash", "-c", f'PATH="{Path(sys.executable).parent}:$PATH"; {command}'],
        env=served.environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
