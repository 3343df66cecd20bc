"""The SQLite file: its tables, and the ways to open it.

A trace is a row of what it is searched by, and parts: the spans as they arrived, each part an OTLP `TracesData` of this
trace alone. Write-ahead logging lets readers in while the one writer writes, and a writer that is killed leaves what it
had committed (https://www.sqlite.org/wal.html).
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import structlog

from otel.store.summary import COLUMNS

VERSION = 2
PAGE_BYTES = 4096
ROOM = 1.25
"""The file may be so many times its bound before SQLite itself refuses: room for what is not pruned yet."""

WAL_BYTES = 16 * 1024 * 1024
READ_SECONDS = 5.0

SCHEMA = f"""
CREATE TABLE traces (
  id INTEGER PRIMARY KEY,
  trace_id BLOB NOT NULL UNIQUE,
  arrived REAL NOT NULL,
  {", ".join(f"{column} NOT NULL" for column in COLUMNS)}
);
CREATE TABLE parts (id INTEGER PRIMARY KEY, trace INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX parts_of ON parts (trace);
CREATE INDEX by_request ON traces (request_id) WHERE request_id != '';
CREATE INDEX by_start ON traces (started);
CREATE INDEX by_model ON traces (model, started);
CREATE INDEX by_status ON traces (status, started);
CREATE INDEX by_failure ON traces (started) WHERE failed;
CREATE INDEX by_duration ON traces (duration);
PRAGMA user_version = {VERSION};
"""

log = structlog.get_logger()


def open_for_writing(file: Path, max_bytes: int) -> sqlite3.Connection:
    """Open or make the file; one that is no such database, or of another version, is put aside as `*.broken`.

    Raises sqlite3.Error where the folder cannot be written or the disk is full.
    """
    try:
        return _opened(file, max_bytes)
    except sqlite3.DatabaseError as error:
        if not is_broken(error):
            raise
        put_aside(file, error)
        return _opened(file, max_bytes)


def is_broken(error: sqlite3.Error) -> bool:
    """Tell whether an error says that the file itself is no good."""
    # Subclasses tell of a full disk or a missing folder, and then the file is as good as it was.
    return type(error) is sqlite3.DatabaseError


def put_aside(file: Path, error: sqlite3.Error) -> None:
    """Rename a broken file, so that the next `open_for_writing` makes a new one."""
    log.warning("trace file put aside", file=str(file), reason=str(error))
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{file}{suffix}").unlink()
    with contextlib.suppress(FileNotFoundError):
        file.replace(file.with_suffix(".broken"))


def open_for_reading(file: Path) -> sqlite3.Connection:
    """Open the file for queries alone; raises sqlite3.Error where there is none."""
    connection = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=READ_SECONDS)
    connection.row_factory = sqlite3.Row
    return connection


def bytes_used(connection: sqlite3.Connection) -> int:
    """Return how much of the file is in use; free pages within it are not."""
    pages = _number(connection, "page_count") - _number(connection, "freelist_count")
    return pages * _number(connection, "page_size")


def file_bytes(connection: sqlite3.Connection) -> int:
    """Return how large the file is, without its write-ahead log."""
    return _number(connection, "page_count") * _number(connection, "page_size")


def _opened(file: Path, max_bytes: int) -> sqlite3.Connection:
    # Autocommit: every transaction is begun by hand.
    connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    try:
        file.chmod(0o600)
        _prepare(connection, max_bytes)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection, max_bytes: int) -> None:
    connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    # Each commit survives this process; the last ones may not survive a loss of power.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    if _number(connection, "user_version") != VERSION:
        if connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            raise sqlite3.DatabaseError("it was made by another version")
        connection.executescript(f"BEGIN; {SCHEMA} COMMIT;")
    connection.execute(f"PRAGMA max_page_count = {int(max_bytes * ROOM) // PAGE_BYTES}")


def _number(connection: sqlite3.Connection, pragma: str) -> int:
    return int(connection.execute(f"PRAGMA {pragma}").fetchone()[0])
