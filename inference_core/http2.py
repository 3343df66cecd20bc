"""One end of an HTTP/2 connection that carries gRPC's unary calls, as an asyncio protocol in a single thread.

Known is what both ends of such calls need: SETTINGS, HEADERS with CONTINUATION, DATA with its flow control, RST_STREAM,
PING, GOAWAY. Padding, which gRPC does not use, ends a connection; pushes and priorities do, or mean nothing.
Sources: RFC 9113, and gRPC's PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import asyncio
import enum
import struct
from collections import deque
from collections.abc import Sequence
from typing import cast

import msgspec

from inference_core.tensors import Buffer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = struct.Struct(">HBBBI")
HEAD_BYTES = HEAD.size
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, WITH_PRIORITY = 1, 1, 4, 8, 32
PRIORITY_BYTES = 5
TABLE_SIZE, PUSH, MOST_STREAMS, INITIAL_WINDOW, FRAME_SIZE = 1, 2, 3, 4, 5
SETTING = struct.Struct(">HI")
NUMBER = struct.Struct(">I")
FIRST_WINDOW, WIDEST_WINDOW = 65_535, 2**31 - 1
FIRST_FRAME_SIZE, OUR_FRAME_SIZE = 16_384, 2**20
MOST_HEADER_BYTES = 64 * 1024
STREAM_BITS = 0x7FFFFFFF


class Code(enum.IntEnum):
    """Why a stream or connection ends (RFC 9113, 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FLOW_CONTROL_ERROR = 3
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    ENHANCE_YOUR_CALM = 11


class ConnectionBroken(Exception):  # never leaves this module's users
    """The peer does what HTTP/2 or this end does not know; `code` is what it is told."""

    def __init__(self, code: Code) -> None:
        super().__init__(code.name)
        self.code = code


class Outgoing(msgspec.Struct, gc=False):
    """A body that its peer's windows do not yet take; `ending` is what follows it, `window` its stream's."""

    stream: int
    body: deque[memoryview]
    window: int
    ending: bytes


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return a frame's bytes."""
    return HEAD.pack(len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def data_head(size: int, flags: int, stream: int) -> bytes:
    """Return what stands before so many bytes of DATA."""
    return HEAD.pack(size >> 8, size & 0xFF, DATA, flags, stream)


class Connection(asyncio.Protocol):
    """What client and server have in common. Subclasses take whole header blocks, pieces of DATA, and ends of streams.

    DATA is handed on as it arrives, so a large message is copied once, to where its stream wants it.
    """

    transport: asyncio.Transport

    def __init__(self, most_streams: int) -> None:
        self.is_open = False
        self._most_streams = most_streams
        self._rest = b""
        self._blocks = b""
        self._blocks_flags = 0
        self._left = self._stream = 0
        self._ends = False
        self._received = 0
        self._window = FIRST_WINDOW
        self._first_window = FIRST_WINDOW
        self._frame_size = FIRST_FRAME_SIZE
        self._waiting: deque[Outgoing] = deque()

    # What subclasses do

    def headers_received(self, stream: int, block: bytes, *, ends: bool) -> None:
        """Take a whole header block; `ends` says that nothing follows on its stream."""
        raise NotImplementedError

    def body_received(self, stream: int, piece: memoryview, *, ends: bool) -> None:
        """Take a piece of a stream's DATA."""
        raise NotImplementedError

    def stream_reset(self, stream: int, code: int) -> None:
        """Forget a stream that the peer gave up."""
        raise NotImplementedError

    def peer_leaves(self, last_stream: int) -> None:
        """Expect nothing more for streams that are newer."""
        raise NotImplementedError

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol.connection_made`: send our settings, and widen the connection's window."""
        self.transport = cast("asyncio.Transport", transport)
        self.is_open = True
        settings = {TABLE_SIZE: 0, INITIAL_WINDOW: WIDEST_WINDOW, FRAME_SIZE: OUR_FRAME_SIZE}
        settings[MOST_STREAMS] = self._most_streams
        payload = b"".join([SETTING.pack(*pair) for pair in settings.items()])
        wider = NUMBER.pack(WIDEST_WINDOW - FIRST_WINDOW)
        self.transport.write(frame(SETTINGS, 0, 0, payload) + frame(WINDOW_UPDATE, 0, 0, wider))

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol.data_received`."""
        try:
            self._take(data)
        except ConnectionBroken as error:
            self.leave(error.code)
            self.transport.close()

    def _take(self, data: bytes) -> None:
        if self._rest:
            data, self._rest = self._rest + data, b""
        position, end = 0, len(data)
        while position < end:
            if self._left:
                position = self._piece(data, position, end)
                continue
            if end - position < HEAD_BYTES:
                break
            high, low, kind, flags, stream = HEAD.unpack_from(data, position)
            size, start = high << 8 | low, position + HEAD_BYTES
            if kind == DATA:
                self._begin_data(flags, stream & STREAM_BITS, size)
                position = start
            elif size > MOST_HEADER_BYTES:
                raise ConnectionBroken(Code.ENHANCE_YOUR_CALM)
            elif end - start < size:
                break
            else:
                position = start + size
                self._frame_received(kind, flags, stream & STREAM_BITS, data[start:position])
        if position < end:
            self._rest = data[position:]

    def _begin_data(self, flags: int, stream: int, size: int) -> None:
        if flags & PADDED or not stream or self._blocks_flags:
            raise ConnectionBroken(Code.PROTOCOL_ERROR)
        self._left, self._stream, self._ends = size, stream, bool(flags & END_STREAM)
        self._received += size
        if self._received > WIDEST_WINDOW // 2:
            self.transport.write(frame(WINDOW_UPDATE, 0, 0, NUMBER.pack(self._received)))
            self._received = 0
        if not size and self._ends:
            self.body_received(stream, memoryview(b""), ends=True)

    def _piece(self, data: bytes, position: int, end: int) -> int:
        stop = min(end, position + self._left)
        self._left -= stop - position
        self.body_received(self._stream, memoryview(data)[position:stop], ends=self._ends and not self._left)
        return stop

    def _frame_received(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if self._blocks_flags and kind != CONTINUATION:
            raise ConnectionBroken(Code.PROTOCOL_ERROR)
        if kind == HEADERS:
            self._headers(flags, stream, payload)
        elif kind == CONTINUATION:
            self._continuation(flags, stream, payload)
        elif kind == WINDOW_UPDATE:
            self._widen(stream, _number(payload))
        elif kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING and not flags & ACK:
            self.transport.write(frame(PING, ACK, 0, payload))
        elif kind == RST_STREAM:
            self._drop(stream)
            self.stream_reset(stream, _number(payload))
        elif kind == GOAWAY:
            self.peer_leaves(_number(payload) & STREAM_BITS)
        elif kind == PUSH_PROMISE:
            raise ConnectionBroken(Code.PROTOCOL_ERROR)

    def _headers(self, flags: int, stream: int, payload: bytes) -> None:
        if flags & PADDED or not stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR)
        block = payload[PRIORITY_BYTES:] if flags & WITH_PRIORITY else payload
        if flags & END_HEADERS:
            self.headers_received(stream, block, ends=bool(flags & END_STREAM))
        else:
            self._stream, self._blocks, self._blocks_flags = stream, block, flags | END_HEADERS

    def _continuation(self, flags: int, stream: int, payload: bytes) -> None:
        if not self._blocks_flags or stream != self._stream:
            raise ConnectionBroken(Code.PROTOCOL_ERROR)
        self._blocks += payload
        if len(self._blocks) > MOST_HEADER_BYTES:
            raise ConnectionBroken(Code.ENHANCE_YOUR_CALM)
        if flags & END_HEADERS:
            block, first_flags = self._blocks, self._blocks_flags
            self._blocks, self._blocks_flags = b"", 0
            self.headers_received(stream, block, ends=bool(first_flags & END_STREAM))

    # Sending

    def leave(self, code: Code = Code.NO_ERROR, last_stream: int = STREAM_BITS) -> None:
        """Tell the peer that newer streams will not be answered."""
        self.is_open = False
        self.transport.write(frame(GOAWAY, 0, 0, NUMBER.pack(last_stream) + NUMBER.pack(code)))

    def reset(self, stream: int, code: Code) -> None:
        """Give a stream up."""
        self._drop(stream)
        self.transport.write(frame(RST_STREAM, 0, stream, NUMBER.pack(code)))

    def send(self, stream: int, before: bytes, body: Sequence[Buffer], ending: bytes = b"") -> None:
        """Send frames, a body as DATA, and frames after it; without an ending the body is the stream's end."""
        size = sum([len(part) for part in body])
        if size <= self._frame_size and size <= self._window and size <= self._first_window and not self._waiting:
            self._window -= size
            head = data_head(size, 0 if ending else END_STREAM, stream)
            self.transport.write(b"".join((before, head, *body, ending)))
            return
        self.transport.write(before)
        self._waiting.append(Outgoing(stream, deque([memoryview(part) for part in body]), self._first_window, ending))
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
        size = min(len(part), self._frame_size, self._window, outgoing.window)
        if size < len(part):
            outgoing.body.appendleft(part[size:])
        self._window -= size
        outgoing.window -= size
        is_last = not outgoing.body
        flags = END_STREAM if is_last and not outgoing.ending else 0
        self.transport.writelines([data_head(size, flags, outgoing.stream), part[:size]])
        if is_last and outgoing.ending:
            self.transport.write(outgoing.ending)
        return is_last

    def _widen(self, stream: int, size: int) -> None:
        if not stream:
            self._window += size
            if self._window > WIDEST_WINDOW:
                raise ConnectionBroken(Code.FLOW_CONTROL_ERROR)
        for outgoing in self._waiting:
            if outgoing.stream == stream:
                outgoing.window += size
        self._pump()

    def _settings(self, payload: bytes) -> None:
        if len(payload) % SETTING.size:
            raise ConnectionBroken(Code.PROTOCOL_ERROR)
        for name, value in SETTING.iter_unpack(payload):
            if name == INITIAL_WINDOW:
                for outgoing in self._waiting:
                    outgoing.window += value - self._first_window
                self._first_window = value
            elif name == FRAME_SIZE:
                self._frame_size = max(FIRST_FRAME_SIZE, value)
        self.transport.write(frame(SETTINGS, ACK, 0, b""))
        self._pump()

    def _drop(self, stream: int) -> None:
        if self._waiting:
            self._waiting = deque(outgoing for outgoing in self._waiting if outgoing.stream != stream)


def _number(payload: bytes) -> int:
    if len(payload) < NUMBER.size:
        raise ConnectionBroken(Code.PROTOCOL_ERROR)
    number: int = NUMBER.unpack_from(payload)[0]
    return number
