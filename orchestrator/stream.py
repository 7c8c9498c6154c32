"""One gRPC call on an HTTP/2 connection, and how much of it the peer lets us send (RFC 9113, 5.2)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from orchestrator import frames
from orchestrator.frames import END_STREAM, head

PREFIX = 5  # bytes before a gRPC message: whether it is compressed, its length
UNKNOWN = 2  # gRPC's status for an answer without one


class Reply(NamedTuple):
    """gRPC status (0 is success), what it says, and the message's bytes."""

    status: int
    details: str
    message: bytes


class Stream:
    """One call: what is still to be sent of it, what has come."""

    __slots__ = ("future", "headers", "number", "parts", "size", "unsent", "window")

    def __init__(self, number: int, future: "asyncio.Future[Reply]", message: bytes, window: int) -> None:
        self.number = number
        self.future = future
        self.unsent = b"\0" + len(message).to_bytes(4, "big") + message
        self.window = window
        self.parts: list[bytes] = []
        self.size = 0
        self.headers: Mapping[bytes, bytes] = {}

    def reply(self) -> Reply:
        """What has come, once the stream ended."""
        status = self.headers.get(b"grpc-status", b"")
        details = unquote_to_bytes(self.headers.get(b"grpc-message", b"")).decode(errors="replace")
        if not status.isdigit():
            return Reply(UNKNOWN, f"no gRPC status, HTTP {self.headers.get(b':status', b'?').decode()}", b"")
        return Reply(int(status), details, b"".join(self.parts)[PREFIX:])

    def settle(self, outcome: Reply | Exception) -> None:
        """Tell whoever waits, unless he was told already."""
        if self.future.done():
            return
        if isinstance(outcome, Exception):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)


class Outflow:
    """Sends messages as far as the peer's windows allow, the rest when they open."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self._write = write
        self._window = self.stream_window = frames.WINDOW
        self._frame_bytes = frames.FIRST_FRAME_BYTES
        self._blocked: dict[int, Stream] = {}

    def send(self, stream: Stream, before: bytes = b"") -> None:
        """In one write: `before`, and what may be sent now."""
        parts = [before]
        while stream.unsent and (size := min(len(stream.unsent), self._window, stream.window, self._frame_bytes)) > 0:
            flags = END_STREAM if size == len(stream.unsent) else 0
            parts += (head(frames.DATA, flags, stream.number, size), stream.unsent[:size])
            stream.unsent = stream.unsent[size:]
            stream.window -= size
            self._window -= size
        if stream.unsent:
            self._blocked[stream.number] = stream
        else:
            self._blocked.pop(stream.number, None)
        self._write(b"".join(parts))

    def forget(self, stream: Stream) -> None:
        """Send no more of it."""
        self._blocked.pop(stream.number, None)

    def obey(self, said: Mapping[int, int], streams: Mapping[int, Stream]) -> None:
        """The peer's settings. Windows that are open already move with the one that new streams get."""
        self._frame_bytes = said.get(frames.MAX_FRAME_SIZE, self._frame_bytes)
        more = said.get(frames.INITIAL_WINDOW_SIZE, self.stream_window) - self.stream_window
        self.stream_window += more
        for stream in streams.values():
            stream.window += more
        self._go_on()

    def widen(self, stream: Stream | None, more: int) -> None:
        """The peer takes `more` bytes, of one stream or (None) of the connection."""
        if stream is None:
            self._window += more
        else:
            stream.window += more
        self._go_on()

    def _go_on(self) -> None:
        for stream in list(self._blocked.values()):
            self.send(stream)
