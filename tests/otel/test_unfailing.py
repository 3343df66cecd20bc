"""A log line that nobody can take costs nothing but itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otel.logs import Unfailing


def test_a_closed_pipe_raises_nothing() -> None:
    """When the reader of the log pipe is gone, writing and flushing go on without an error."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as stream:
        output = Unfailing(stream)
        output.write("a line\n")
        output.flush()
        os.close(reader)
        output.write("another\n")
        output.flush()
        assert os.fstat(writer).st_size == 0
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, writer)  # lets the stream itself close cleanly
        os.close(devnull)


def test_a_closed_stream_raises_nothing(tmp_path: Path) -> None:
    """Neither does a stream that is closed."""
    stream = (tmp_path / "log").open("w")
    stream.close()
    assert Unfailing(stream).write("a line") == 0


@pytest.mark.parametrize("text", ["", "a line\n"])
def test_what_can_be_written_is_written(tmp_path: Path, text: str) -> None:
    """An open stream gets every character."""
    with (tmp_path / "log").open("w") as stream:
        assert Unfailing(stream).write(text) == len(text)
    assert (tmp_path / "log").read_text() == text
