"""Unary gRPC over one HTTP/2 connection: as much of RFC 9113 as that needs, and every frame that a server may send.

grpc.aio takes nearly three times this CPU for a call. What makes it cheap: a request is one write of bytes that are
mostly made beforehand; our SETTINGS forbid the server's header table, so that what a header block says depends on its
bytes alone and is remembered; our windows are as large as they may be, so that replies need no answer.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from hpack import HPACKError

from orchestrator import frames
from orchestrator.errors import BadAnswerError, LateError, UnavailableError
from orchestrator.frames import ACK, END_HEADERS, END_STREAM, frame, number
from orchestrator.stream import Outflow, Reply, Stream

LAST_STREAM = (1 << 31) - 3
SILENT_S = 10.0  # longer than any call may take: a peer that was asked and said nothing for so long is gone


class Http2(asyncio.Protocol):
    """One connection. `over` is done as soon as it takes no new calls; it closes itself when the open ones ended."""

    def __init__(self, message_bytes: int, last_stream: int = LAST_STREAM) -> None:
        self._loop = asyncio.get_running_loop()
        self._message_bytes = message_bytes
        self._last_stream = last_stream
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Stream] = {}
        self._left: set[int] = set()
        self._next = 1
        self._rest = b""
        self._begun: tuple[int, int, bytes] | None = None  # a header block without its end: stream, flags, bytes
        self._outflow = Outflow(self._write)
        self._consumed = 0
        self._heard = self._loop.time()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self._handlers: Mapping[int, Callable[[int, int, bytes], None]] = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._on_headers,
            frames.CONTINUATION: self._on_continuation,
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
        }

    @property
    def left(self) -> int:
        """Open calls that nobody waits for."""
        return len(self._left)

    async def call(self, headers: bytes, message: bytes, timeout_s: float, cancels: bool) -> Reply:
        """One call. Raises LateError, UnavailableError, BadAnswerError. A call that nobody waits for any more is taken
        back if it `cancels`; otherwise it runs on."""
        stream = self._open(headers, message)
        timer = self._loop.call_later(timeout_s, self._late, stream)
        try:
            return await stream.future
        finally:
            timer.cancel()
            if stream.number in self._streams:
                self._leave(stream, cancels)

    async def finish(self, timeout_s: float) -> None:
        """Take no new calls, wait so long for the open ones, close."""
        self._end()
        ends = self._loop.time() + timeout_s
        while self._streams and self._loop.time() < ends:
            await asyncio.sleep(0.01)
        self.drop()

    def drop(self) -> None:
        """Give the connection up; whoever waits on it fails now."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(frames.GREETING)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._end()
        self._fail(list(self._streams), UnavailableError("triton: connection lost"))

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        buffer = self._rest + data if self._rest else data
        at, end = 0, len(buffer)
        while end - at >= frames.HEAD:
            begins = at + frames.HEAD
            ends = begins + int.from_bytes(buffer[at : at + 3], "big")
            if ends - begins > frames.OUR_FRAME_BYTES:
                self.drop()
                return
            if ends > end:
                break
            if (handle := self._handlers.get(buffer[at + 3])) is not None:
                handle(number(buffer[at + 5 : begins]), buffer[at + 4], buffer[begins:ends])
            at = ends
        self._rest = buffer[at:]

    def _open(self, headers: bytes, message: bytes) -> Stream:
        if self._transport is None or self.over.done():
            raise UnavailableError("triton: not connected")
        stream = Stream(self._next, self._loop.create_future(), message, self._outflow.stream_window)
        self._streams[stream.number] = stream
        self._next += 2
        self._outflow.send(stream, frame(frames.HEADERS, END_HEADERS, stream.number, headers))
        if self._next > self._last_stream:
            self._end()
        return stream

    def _write(self, content: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(content)

    def _late(self, stream: Stream) -> None:
        stream.settle(LateError("triton"))
        if self._loop.time() - self._heard > SILENT_S:
            self.drop()

    def _leave(self, stream: Stream, cancels: bool) -> None:
        if cancels or stream.unsent:
            self._cancel(stream)
        else:
            self._left.add(stream.number)

    def _cancel(self, stream: Stream) -> None:
        self._write(frame(frames.RST_STREAM, 0, stream.number, frames.CANCEL))
        self._forget(stream)

    def _on_data(self, stream_number: int, flags: int, payload: bytes) -> None:
        self._consumed += len(payload)
        if self._consumed > frames.LARGEST_WINDOW // 2:
            self._write(frame(frames.WINDOW_UPDATE, 0, 0, self._consumed.to_bytes(4, "big")))
            self._consumed = 0
        if (stream := self._streams.get(stream_number)) is None:
            return
        part = frames.unpadded(flags, payload)
        stream.parts.append(part)
        stream.size += len(part)
        if stream.size > self._message_bytes:
            stream.settle(BadAnswerError(f"triton: an answer of more than {self._message_bytes} bytes"))
            self._cancel(stream)
        elif flags & END_STREAM:
            self._complete(stream)

    def _on_headers(self, stream_number: int, flags: int, payload: bytes) -> None:
        block = frames.unpadded(flags, payload)
        self._take_headers(stream_number, flags, block[5:] if flags & frames.PRIORITY else block)

    def _on_continuation(self, stream_number: int, flags: int, payload: bytes) -> None:
        if self._begun is None or self._begun[0] != stream_number:
            self.drop()
            return
        _, before, block = self._begun
        self._take_headers(stream_number, before | flags, block + payload)

    def _take_headers(self, stream_number: int, flags: int, block: bytes) -> None:
        self._begun = None if flags & END_HEADERS else (stream_number, flags, block)
        if self._begun is None:
            self._read_headers(stream_number, flags, block)
        elif len(block) > frames.OUR_FRAME_BYTES:
            self.drop()

    def _read_headers(self, stream_number: int, flags: int, block: bytes) -> None:
        try:
            headers = frames.headers_of(block)
        except HPACKError:
            self.drop()
            return
        if (stream := self._streams.get(stream_number)) is not None:
            stream.headers = headers
            if flags & END_STREAM:
                self._complete(stream)

    def _on_reset(self, stream_number: int, flags: int, payload: bytes) -> None:
        del flags
        self._fail([stream_number], UnavailableError(f"triton: stream reset, code {number(payload)}"))

    def _on_settings(self, stream_number: int, flags: int, payload: bytes) -> None:
        del stream_number
        if not flags & ACK:
            self._write(frame(frames.SETTINGS, ACK, 0))
            self._outflow.obey(frames.settings_of(payload), self._streams)

    def _on_ping(self, stream_number: int, flags: int, payload: bytes) -> None:
        if not flags & ACK:
            self._write(frame(frames.PING, ACK, stream_number, payload))

    def _on_goaway(self, stream_number: int, flags: int, payload: bytes) -> None:
        """Calls behind the last one that the server took are lost, the others will be answered."""
        del stream_number, flags
        self._end()
        last = number(payload)
        self._fail([n for n in self._streams if n > last], UnavailableError("triton: going away"))

    def _on_window_update(self, stream_number: int, flags: int, payload: bytes) -> None:
        del flags
        stream = self._streams.get(stream_number)
        if stream_number == 0 or stream is not None:
            self._outflow.widen(stream, number(payload))

    def _complete(self, stream: Stream) -> None:
        stream.settle(stream.reply())
        self._forget(stream)

    def _fail(self, numbers: Iterable[int], error: Exception) -> None:
        for stream in [self._streams[n] for n in numbers if n in self._streams]:
            stream.settle(error)
            self._forget(stream)

    def _forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)
        self._left.discard(stream.number)
        self._outflow.forget(stream)
        self._close_when_idle()

    def _end(self) -> None:
        if not self.over.done():
            self.over.set_result(None)
        self._close_when_idle()

    def _close_when_idle(self) -> None:
        if self.over.done() and not self._streams and self._transport is not None:
            self._transport.close()
