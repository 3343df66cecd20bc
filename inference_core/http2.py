"""One end of an HTTP/2 connection that carries gRPC's unary calls, as an asyncio protocol in a single thread.

Known is what both ends of such calls need: SETTINGS, HEADERS with CONTINUATION, DATA with its flow control, RST_STREAM,
PING, GOAWAY. Padding, which gRPC does not use, ends a connection; pushes and priorities do, or mean nothing.
Sources: RFC 9113, and gRPC's PROTOCOL-HTTP2.md.
"""

from __future__ import annotations

import asyncio
from typing import cast

from inference_core.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FIRST_FRAME_SIZE,
    FIRST_WINDOW,
    FRAME_SIZE,
    GOAWAY,
    HEAD,
    HEAD_BYTES,
    HEADERS,
    INITIAL_WINDOW,
    LARGEST_FRAME_SIZE,
    MOST_HEADER_BYTES,
    MOST_STREAMS,
    NUMBER,
    OUR_FRAME_SIZE,
    PADDED,
    PING,
    PRIORITY_BYTES,
    PUSH_PROMISE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    STREAM_BITS,
    TABLE_SIZE,
    WIDEST_WINDOW,
    WINDOW_UPDATE,
    WITH_PRIORITY,
    Code,
    ConnectionBroken,
    frame,
)
from inference_core.http2_outbox import Outbox


class Connection(asyncio.Protocol):
    """What client and server have in common. Subclasses take whole header blocks, pieces of DATA, and ends of streams.

    DATA is handed on as it arrives, so a large message is copied once, to where its stream wants it.
    """

    transport: asyncio.Transport
    outbox: Outbox

    def __init__(self, most_streams: int) -> None:
        self.is_open = False
        self._most_streams = most_streams
        self._rest = b""
        self._blocks = b""
        self._blocks_flags = 0
        self._left = self._stream = 0
        self._ends = False
        self._received = 0

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

    def will_send(self, stream: int) -> bool:
        """Tell whether a stream's body is still to come from this end, so that its window counts already."""
        raise NotImplementedError

    # Receiving

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol.connection_made`: send our settings, and widen the connection's window."""
        self.transport = cast("asyncio.Transport", transport)
        self.outbox = Outbox(self.transport)
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
            self.connection_lost(error)  # a peer that reads nothing would keep the transport, and those who wait

    def connection_lost(self, error: Exception | None) -> None:  # noqa: ARG002  # as in its base
        """As `asyncio.Protocol.connection_lost`; may come twice."""
        self.is_open = False
        self.outbox.clear()

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
            self.outbox.drop(stream)
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
        self.outbox.drop(stream)
        self.transport.write(frame(RST_STREAM, 0, stream, NUMBER.pack(code)))

    def _widen(self, stream: int, size: int) -> None:
        if stream:
            self.outbox.widen_stream(stream, size, is_awaited=self.will_send(stream))
        else:
            self.outbox.widen(size)

    def _settings(self, payload: bytes) -> None:
        if len(payload) % SETTING.size:
            raise ConnectionBroken(Code.PROTOCOL_ERROR)
        for name, value in SETTING.iter_unpack(payload):
            if name == INITIAL_WINDOW:
                self.outbox.begin_windows_at(value)
            elif name == FRAME_SIZE:
                if not FIRST_FRAME_SIZE <= value <= LARGEST_FRAME_SIZE:
                    raise ConnectionBroken(Code.PROTOCOL_ERROR)
                self.outbox.frame_size = value
        self.transport.write(frame(SETTINGS, ACK, 0, b""))


def _number(payload: bytes) -> int:
    if len(payload) < NUMBER.size:
        raise ConnectionBroken(Code.PROTOCOL_ERROR)
    number: int = NUMBER.unpack_from(payload)[0]
    return number
