"""HTTP/2 as we speak it: against a real gRPC server, and against scripted frames that no polite server sends."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator import frames
from orchestrator.errors import BadAnswerError, LateError, StageError, UnavailableError
from orchestrator.frames import ACK, END_HEADERS, END_STREAM, frame
from orchestrator.http2 import Http2
from orchestrator.stream import Reply
from orchestrator.triton import method
from tests.ports import free_port

pytestmark = pytest.mark.anyio
ECHO = method("test", "Echo")
OK_HEAD = Encoder().encode([(":status", "200"), ("content-type", "application/grpc")])
OK_TAIL = Encoder().encode([("grpc-status", "0")])


def message(content: bytes) -> bytes:
    """A gRPC message."""
    return b"\0" + len(content).to_bytes(4, "big") + content


def answered(stream: int, content: bytes = b"pong") -> bytes:
    """A whole answer."""
    parts = (
        frame(frames.HEADERS, END_HEADERS, stream, OK_HEAD),
        frame(frames.DATA, 0, stream, message(content)),
        frame(frames.HEADERS, END_HEADERS | END_STREAM, stream, OK_TAIL),
    )
    return b"".join(parts)


class Script(asyncio.Transport):
    """What a connection wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.closed = True

    def frames(self) -> list[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, payload) of every frame after the preface."""
        content, found = self.written.partition(b"SM\r\n\r\n")[2], []
        while content:
            ends = frames.HEAD + int.from_bytes(content[:3], "big")
            found.append((content[3], content[4], frames.number(content[5:9]), content[frames.HEAD : ends]))
            content = content[ends:]
        return found

    def sent(self, stream: int) -> bytes:
        """Everything of one stream's message that was sent."""
        return b"".join(p for kind, _, number, p in self.frames() if kind == frames.DATA and number == stream)


class Pair:
    """A connection and its script."""

    def __init__(self, last_stream: int = 99, message_bytes: int = 1 << 20) -> None:
        self.wire, self.script = Http2(message_bytes, last_stream), Script()
        self.wire.connection_made(self.script)

    def ask(self, content: bytes = b"ping", timeout_s: float = 5.0, cancels: bool = False) -> asyncio.Task[Reply]:
        return asyncio.create_task(self.wire.call(ECHO, content, timeout_s, cancels))


async def begun(*tasks: asyncio.Task[Reply]) -> None:
    for _ in range(2 * len(tasks) + 2):
        await asyncio.sleep(0)


@pytest.fixture
async def echo() -> AsyncIterator[tuple[str, int]]:
    """A real gRPC server that answers what it is sent."""

    async def behave(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        if content == b"fail":
            await context.abort(grpc.StatusCode.INTERNAL, "broken: ü, 100 %")
        return content

    handler = grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService", {"Echo": grpc.unary_unary_rpc_method_handler(behave)}
    )
    port = free_port()
    limits = [("grpc.max_receive_message_length", 8 << 20), ("grpc.max_send_message_length", 8 << 20)]
    server = grpc.aio.server(options=limits)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    yield "127.0.0.1", port
    await server.stop(None)


async def connected(address: tuple[str, int]) -> Http2:
    _, wire = await asyncio.get_running_loop().create_connection(lambda: Http2(16 << 20), *address)
    return wire


@pytest.mark.parametrize("size", [0, 1, 16_379, 65_530, 5_000_000])
async def test_messages_of_any_size_go_both_ways(echo: tuple[str, int], size: int):
    wire = await connected(echo)
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    assert await wire.call(ECHO, content, 20.0, False) == Reply(0, "", content)
    wire.drop()


async def test_many_calls_share_the_connection_and_none_gets_anothers_answer(echo: tuple[str, int]):
    wire = await connected(echo)
    contents = [str(i).encode() * 1000 for i in range(100)]
    replies = await asyncio.gather(*(wire.call(ECHO, content, 20.0, False) for content in contents))
    assert [reply.message for reply in replies] == contents
    wire.drop()


async def test_an_error_comes_with_its_words(echo: tuple[str, int]):
    wire = await connected(echo)
    assert await wire.call(ECHO, b"fail", 20.0, False) == Reply(13, "broken: ü, 100 %", b"")
    wire.drop()


async def test_the_server_going_away_ends_the_connection_and_nobody_hangs():
    pair = Pair()
    first, second = pair.ask(), pair.ask()
    await begun(first, second)
    pair.wire.data_received(frame(frames.GOAWAY, 0, 0, (1).to_bytes(4, "big") + bytes(4)))
    with pytest.raises(UnavailableError, match="going away"):
        await second
    assert pair.wire.over.done()
    assert not pair.script.closed
    pair.wire.data_received(answered(1))
    assert (await first).message == b"pong"
    assert pair.script.closed
    with pytest.raises(UnavailableError):
        await pair.ask()


async def test_when_the_numbers_run_out_the_connection_is_over_and_its_calls_are_answered():
    pair = Pair(last_stream=3)
    tasks = [pair.ask(), pair.ask()]
    await begun(*tasks)
    assert pair.wire.over.done()
    pair.wire.data_received(answered(3, b"b") + answered(1, b"a"))
    assert [(await task).message for task in tasks] == [b"a", b"b"]


async def test_a_message_waits_for_the_peers_windows():
    pair = Pair()
    task = pair.ask(bytes(100_000))
    await begun(task)
    assert len(pair.script.sent(1)) == frames.WINDOW
    pair.wire.data_received(frame(frames.WINDOW_UPDATE, 0, 1, (200_000).to_bytes(4, "big")))
    assert len(pair.script.sent(1)) == frames.WINDOW
    pair.wire.data_received(frame(frames.WINDOW_UPDATE, 0, 0, (200_000).to_bytes(4, "big")))
    assert len(pair.script.sent(1)) == 100_005
    assert [flags for kind, flags, _, _ in pair.script.frames() if kind == frames.DATA][-1] == END_STREAM
    pair.wire.data_received(answered(1))
    assert (await task).status == 0


async def test_settings_move_open_windows_and_frame_sizes_and_are_acknowledged():
    pair = Pair()
    said = {frames.INITIAL_WINDOW_SIZE: 10, frames.MAX_FRAME_SIZE: 1 << 15}
    pair.wire.data_received(frame(frames.SETTINGS, 0, 0, frames.settings(said)))
    task = pair.ask(bytes(40_000))
    await begun(task)
    assert len(pair.script.sent(1)) == 10
    more = frames.settings({frames.INITIAL_WINDOW_SIZE: frames.WINDOW})
    pair.wire.data_received(frame(frames.SETTINGS, 0, 0, more) + frame(frames.SETTINGS, ACK, 0))
    assert len(pair.script.sent(1)) == 40_005
    assert max(len(p) for kind, _, _, p in pair.script.frames() if kind == frames.DATA) == 1 << 15
    assert [f for f in pair.script.frames() if f[:2] == (frames.SETTINGS, ACK)] == [(frames.SETTINGS, ACK, 0, b"")] * 2
    task.cancel()


async def test_pings_are_answered_and_answers_are_not():
    pair = Pair()
    pair.wire.data_received(frame(frames.PING, 0, 0, b"12345678") + frame(frames.PING, ACK, 0, b"87654321"))
    assert [f for f in pair.script.frames() if f[0] == frames.PING] == [(frames.PING, ACK, 0, b"12345678")]


async def test_padding_priority_continuation_and_unknown_frames_are_understood():
    pair = Pair()
    task = pair.ask()
    await begun(task)
    padded = b"\x03" + bytes(5) + OK_HEAD[:2] + bytes(3)
    pair.wire.data_received(
        frame(0xFA, 0, 1, b"from the future")
        + frame(frames.HEADERS, frames.PADDED | frames.PRIORITY, 1, padded)
        + frame(frames.CONTINUATION, END_HEADERS, 1, OK_HEAD[2:])
        + frame(frames.DATA, frames.PADDED, 1, b"\x02" + message(b"pong") + bytes(2))
        + frame(frames.HEADERS, END_STREAM, 1, OK_TAIL[:1])
        + frame(frames.CONTINUATION, END_HEADERS, 1, OK_TAIL[1:])
    )
    assert await task == Reply(0, "", b"pong")


@pytest.mark.parametrize(
    "nonsense",
    [
        (frames.OUR_FRAME_BYTES + 1).to_bytes(3, "big") + bytes(6),
        frame(frames.CONTINUATION, END_HEADERS, 1, OK_HEAD),
        frame(frames.HEADERS, END_HEADERS, 1, b"\xff\xff\xff\xff\xff\xff"),
        frame(frames.HEADERS, END_HEADERS, 1, bytes([0x80 | 70])),
    ],
    ids=["frame too large", "continuation of nothing", "header block broken", "header of a table we forbade"],
)
async def test_nonsense_ends_the_connection(nonsense: bytes):
    pair = Pair()
    task = pair.ask()
    await begun(task)
    pair.wire.data_received(nonsense)
    with pytest.raises(UnavailableError):
        await task
    assert pair.script.closed
    assert pair.wire.over.done()


async def test_an_answer_over_the_limit_fails_its_call_only():
    pair = Pair(message_bytes=1000)
    large, small = pair.ask(), pair.ask()
    await begun(large, small)
    pair.wire.data_received(frame(frames.DATA, 0, 1, bytes(1001)) + answered(3))
    with pytest.raises(BadAnswerError, match="more than 1000 bytes"):
        await large
    assert (await small).message == b"pong"
    assert (frames.RST_STREAM, 0, 1, frames.CANCEL) in pair.script.frames()


async def test_an_answer_without_a_grpc_status_is_a_failure():
    pair = Pair()
    task = pair.ask()
    await begun(task)
    pair.wire.data_received(frame(frames.HEADERS, END_HEADERS | END_STREAM, 1, Encoder().encode([(":status", "502")])))
    assert await task == Reply(2, "no gRPC status, HTTP 502", b"")


async def test_what_comes_for_a_call_that_ended_is_ignored():
    pair = Pair()
    task = pair.ask(timeout_s=0.01, cancels=True)
    with pytest.raises(LateError):
        await task
    assert (frames.RST_STREAM, 0, 1, frames.CANCEL) in pair.script.frames()
    pair.wire.data_received(answered(1) + frame(frames.RST_STREAM, 0, 1, bytes(4)))
    assert pair.wire.left == 0


async def test_a_late_call_that_runs_on_is_counted_until_it_ends():
    pair = Pair()
    with pytest.raises(LateError):
        await pair.ask(timeout_s=0.01)
    assert pair.wire.left == 1
    pair.wire.data_received(answered(1))
    assert pair.wire.left == 0


async def test_a_message_that_could_not_be_sent_whole_is_taken_back():
    """The server would wait for its rest."""
    pair = Pair()
    with pytest.raises(LateError):
        await pair.ask(bytes(100_000), timeout_s=0.01)
    assert (frames.RST_STREAM, 0, 1, frames.CANCEL) in pair.script.frames()
    assert pair.wire.left == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=20))
def test_answers_may_come_in_pieces_of_any_size(sizes: list[int]):
    async def pieces() -> bytes:
        pair, content = Pair(), answered(1, b"x" * 100)
        task = pair.ask()
        await begun(task)
        for size in sizes:
            pair.wire.data_received(content[:size])
            content = content[size:]
        pair.wire.data_received(content)
        return (await task).message

    assert asyncio.run(pieces()) == b"x" * 100


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_end_in_an_answer_or_an_error(content: bytes):
    async def fed() -> None:
        pair = Pair()
        task = pair.ask(timeout_s=0.01)
        await begun(task)
        pair.wire.data_received(content)
        try:
            await task
        except StageError:
            return

    asyncio.run(fed())


def test_long_header_values_are_encoded():
    assert frames.headers_of(frames.header_block({b"a": b"b" * 1000, b"c" * 127: b""})) == {
        b"a": b"b" * 1000,
        b"c" * 127: b"",
    }
