"""Where log lines go: together where they may wait, and nowhere without an error where nobody takes them."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from otel.log_stream import PIPE_BYTES, Lines, Unfailing


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


class Pipe(io.StringIO):
    """What a program writes to; `writes` has each piece."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        """Keep a piece."""
        self.writes.append(text)
        return len(text)


def test_lines_of_one_turn_are_written_together() -> None:
    """In a running loop several lines of information cost one write, as soon as the loop turns."""
    pipe = Pipe()
    lines = Lines(pipe)

    async def told() -> None:
        for name in ("one", "two", "three"):
            lines.info(name)
        assert pipe.writes == []
        await asyncio.sleep(0)

    asyncio.run(told())
    assert pipe.writes == ["one\ntwo\nthree\n"]


@pytest.mark.parametrize("level", ["msg", "warning", "error", "critical", "exception"])
def test_what_is_wrong_is_written_at_once(level: str) -> None:
    """A failure's line waits for nothing, and comes after those that waited."""
    pipe = Pipe()
    lines = Lines(pipe)

    async def told() -> None:
        lines.info("before")
        getattr(lines, level)("wrong")
        assert "".join(pipe.writes) == "before\nwrong\n"

    asyncio.run(told())
    assert "".join(pipe.writes) == "before\nwrong\n"


def test_without_a_loop_nothing_waits() -> None:
    """A program or thread that has no event loop writes each line at once."""
    pipe = Pipe()
    Lines(pipe).info("a line")
    assert pipe.writes == ["a line\n"]


def test_other_threads_keep_the_order() -> None:
    """What a thread writes comes after what the loop's thread said before."""
    pipe = Pipe()
    lines = Lines(pipe)

    async def told() -> None:
        lines.info("loop")
        await asyncio.to_thread(lines.info, "thread")
        assert "".join(pipe.writes) == "loop\nthread\n"

    asyncio.run(told())


def test_a_write_fits_into_a_pipe() -> None:
    """Programs share a pipe, so what is written together is no more than a pipe takes in one piece."""
    pipe = Pipe()
    lines = Lines(pipe)

    async def told() -> None:
        for number in range(100):
            lines.info(f"{number:0200d}")
        lines.error("x" * 4000)

    asyncio.run(told())
    assert max(map(len, pipe.writes)) <= PIPE_BYTES
    text = "".join(pipe.writes)
    assert [int(line) for line in text.splitlines()[:-1]] == list(range(100))
    assert text.endswith(f"{'x' * 4000}\n")


def test_what_waits_outlives_its_loop() -> None:
    """Lines that wait when a loop ends are written at the program's end, or with those of the next loop."""
    pipe = Pipe()
    lines = Lines(pipe)

    def told(line: str) -> None:
        loop = asyncio.new_event_loop()
        loop.call_soon(loop.stop)
        loop.call_soon(lines.info, line)
        loop.run_forever()  # without the turn in which the line would be written
        loop.close()

    told("one")
    assert pipe.writes == []
    lines.flush()
    assert pipe.writes == ["one\n"]
    told("two")

    async def three() -> None:
        lines.info("three")
        await asyncio.sleep(0)

    asyncio.run(three())
    assert pipe.writes == ["one\n", "two\nthree\n"]


PROGRAM = """
import asyncio, structlog
from otel import logs

async def main():
    structlog.get_logger().info("the last")

logs.configure("test", "info")
asyncio.run(main())
"""


def test_nothing_is_left_behind_at_the_end() -> None:
    """A program that ends right after a line has written it."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert '"event": "the last"' in done.stdout
