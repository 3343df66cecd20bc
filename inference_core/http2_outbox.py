"""What one end of an HTTP/2 connection sends: at once where the peer's windows take it, piece by piece otherwise."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from inference_core.http2_frames import (
    END_STREAM,
    FIRST_FRAME_SIZE,
    FIRST_WINDOW,
    WIDEST_WINDOW,
    Code,
    ConnectionBroken,
    data_head,
)
from inference_core.tensors import Buffer


class Outgoing(msgspec.Struct, gc=False):
    """A body that its peer's windows do not yet take; `ending` is what follows it, `window` its stream's."""

    stream: int
    body: deque[memoryview]
    window: int
    ending: bytes


class Outbox:
    """Bodies on their way to a peer, with its windows (RFC 9113, 5.2) and the size of its frames, in bytes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.frame_size = FIRST_FRAME_SIZE
        self._transport = transport
        self._window = FIRST_WINDOW
        self._first_window = FIRST_WINDOW
        self._waiting: deque[Outgoing] = deque()
        self._early: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def send(self, stream: int, before: bytes, body: Sequence[Buffer], ending: bytes = b"") -> None:
        """Send frames, a body as DATA, and frames after it; without an ending the body is the stream's end."""
        size = sum([len(part) for part in body])
        window = self._first_window + self._early.pop(stream, 0) if self._early else self._first_window
        if size <= self.frame_size and size <= self._window and size <= window and not self._waiting:
            self._window -= size
            head = data_head(size, 0 if ending else END_STREAM, stream)
            self._transport.write(b"".join((before, head, *body, ending)))
            return
        self._transport.write(before)
        self._waiting.append(Outgoing(stream, deque([memoryview(part) for part in body]), window, ending))
        self._pump()

    def _pump(self) -> None:
        # In turn, so that a body whose stream has no window holds none of the others back.
        stuck: deque[Outgoing] = deque()
        while self._waiting and self._window > 0:
            outgoing = self._waiting.popleft()
            if outgoing.window <= 0:
                stuck.append(outgoing)
            elif not self._send_some(outgoing):
                self._waiting.append(outgoing)
        self._waiting.extendleft(reversed(stuck))

    def _send_some(self, outgoing: Outgoing) -> bool:
        part = outgoing.body.popleft()
        size = min(len(part), self.frame_size, self._window, outgoing.window)
        if size < len(part):
            outgoing.body.appendleft(part[size:])
        self._window -= size
        outgoing.window -= size
        is_last = not outgoing.body
        flags = END_STREAM if is_last and not outgoing.ending else 0
        self._transport.writelines([data_head(size, flags, outgoing.stream), part[:size]])
        if is_last and outgoing.ending:
            self._transport.write(outgoing.ending)
        return is_last

    def widen(self, size: int) -> None:
        """Widen the window of all streams together; raises ConnectionBroken where it becomes too wide."""
        self._window += size
        if self._window > WIDEST_WINDOW:
            raise ConnectionBroken(Code.FLOW_CONTROL_ERROR)
        self._pump()

    def widen_stream(self, stream: int, size: int, *, is_awaited: bool) -> None:
        """Widen a stream's window; `is_awaited` says that its body is still to come."""
        for outgoing in self._waiting:
            if outgoing.stream == stream:
                outgoing.window += size
                self._pump()
                return
        if is_awaited:
            self._early[stream] = self._early.get(stream, 0) + size

    def begin_windows_at(self, size: int) -> None:
        """Take what the peer says of new streams, which counts for those under way as well (RFC 9113, 6.9.2)."""
        for outgoing in self._waiting:
            outgoing.window += size - self._first_window
        self._first_window = size
        self._pump()

    def has(self, stream: int) -> bool:
        """Tell whether some of a stream's body waits for the peer's windows."""
        return any(outgoing.stream == stream for outgoing in self._waiting)

    def drop(self, stream: int) -> None:
        """Forget what a stream still had to send."""
        self._early.pop(stream, None)
        if self._waiting:
            self._waiting = deque(outgoing for outgoing in self._waiting if outgoing.stream != stream)

    def clear(self) -> None:
        """Forget everything."""
        self._waiting.clear()
        self._early.clear()
