"""What uvicorn answers itself: in our one shape, and a request's head has a bound."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator

import pytest
import structlog
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from orchestrator.listen import HEAD_BYTES, OPTIONS, PIECE, StrictHttp
from orchestrator.logs import LIBRARIES, configure

pytestmark = pytest.mark.anyio
LINE = b"POST / HTTP/1.1\r\nhost: x\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says how long the head's values and the body are."""
    length, more = 0, True
    while more:
        message = await receive()
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    body = json.dumps([sum(len(value) for _, value in scope["headers"]), length]).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def configured() -> uvicorn.Config:
    config = uvicorn.Config(echo, **{**OPTIONS, "factory": False})
    config.load()
    return config


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config, state = configured(), ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: StrictHttp(config, state, {}), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(state.connections):
        connection.shutdown()
    await server.wait_closed()


class Client:
    """A raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self, *parts: bytes) -> tuple[int, list[int]]:
        """Status and body, after sending the parts one by one; a server that hangs up early stops that."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        return int(head.split()[1]), json.loads(await self.reader.readexactly(length))


@pytest.fixture
async def client(port: int) -> AsyncIterator[Client]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    yield Client(reader, writer)
    writer.close()


class Wire(asyncio.Transport):
    """A connection that keeps what is written; nothing of what it gets is lost when it is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.closed = b"", False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed


async def refusal(*parts: bytes) -> tuple[int, str]:
    """Status and code, of the one shape, with which a connection ends."""
    protocol, wire = StrictHttp(configured(), ServerState(), {}), Wire()
    protocol.connection_made(wire)
    for part in parts:
        if not wire.closed:
            protocol.data_received(part)
    assert wire.closed
    head, _, body = wire.written.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    error = json.loads(body)["error"]
    assert set(error) == {"code", "message", "request_id", "fields"}
    return int(head.split()[1]), error["code"]


FILL = HEAD_BYTES - 200


async def test_a_head_below_the_bound_passes(client: Client) -> None:
    assert await client.answer(LINE + b"a: " + b"x" * FILL + b"\r\ncontent-length: 0\r\n\r\n") == (200, [FILL + 2, 0])


@pytest.mark.parametrize(
    "head",
    [
        LINE + b"a: " + b"x" * (HEAD_BYTES + PIECE),
        LINE + b"x-request-id: " + b"x" * (HEAD_BYTES + PIECE),
        LINE + b"abc: defg\r\n" * 20_000,
        b"GET /?q=" + b"x" * (HEAD_BYTES + PIECE) + b" HTTP/1.1\r\nhost: x",
    ],
    ids=["value", "request id", "many", "url"],
)
@pytest.mark.parametrize("size", [1 << 20, 1000], ids=["at once", "in parts"])
async def test_a_giant_head_is_refused(head: bytes, size: int) -> None:
    whole = head + b"\r\n\r\n"
    assert await refusal(*(whole[i : i + size] for i in range(0, len(whole), size))) == (431, "too_large")


async def test_a_long_body_is_no_head(client: Client) -> None:
    body = b"y" * (4 * HEAD_BYTES)
    whole = LINE + b"content-length: %d\r\n\r\n" % len(body) + body
    for _ in range(3):  # on one connection
        assert await client.answer(whole) == (200, [len(str(len(body))) + 1, len(body)])


async def test_a_head_that_trickles_in_passes(client: Client) -> None:
    whole = LINE + b"content-length: 0\r\n\r\n"
    for _ in range(2):
        assert await client.answer(*(whole[i : i + 1] for i in range(len(whole)))) == (200, [2, 0])


@pytest.mark.parametrize(
    "raw",
    [b"\x00\x01\x02\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\r\nx y", LINE + b"a: b\x00c\r\n\r\n",
     LINE + b"a: b\rc\r\n\r\n", b"BREW / HTTP/1.1\r\n\r\n", LINE + b"content-length: -5\r\n\r\n",
     LINE + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"],
)  # fmt: skip
async def test_what_is_no_http_is_refused_in_our_shape(raw: bytes) -> None:
    assert await refusal(raw) == (400, "malformed")


async def test_a_head_without_an_end_is_not_kept() -> None:
    parts = [LINE + b"a: ", *[b"x" * 1000] * (HEAD_BYTES // 1000 + 1)]
    assert await refusal(*parts) == (431, "too_large")
    with pytest.raises(AssertionError):
        await refusal(*parts[:60])  # not yet


async def test_every_request_of_a_connection_has_the_bound(client: Client) -> None:
    whole = LINE + b"a: " + b"x" * (FILL // 2) + b"\r\ncontent-length: 0\r\n\r\n"
    for _ in range(4):  # together more than the bound
        assert await client.answer(*(whole[i : i + 8000] for i in range(0, len(whole), 8000))) == (
            200,
            [FILL // 2 + 2, 0],
        )
    assert (await refusal(whole, LINE + b"a: " + b"x" * (HEAD_BYTES + PIECE)))[0] == 431


def test_what_libraries_log_is_one_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    configure("info")
    try:
        try:
            raise ValueError("a\nb")
        except ValueError:
            logging.getLogger("uvicorn.error").exception("over\r\n%s", "lines\x00")
    finally:
        structlog.reset_defaults()
        for name in LIBRARIES:
            logging.getLogger(name).handlers.clear()
            logging.getLogger(name).propagate = True
    (line,) = capfdbinary.readouterr().err.splitlines()
    entry = json.loads(line)
    assert (entry["message"], entry["logger"]) == ("over\r\nlines\x00", "uvicorn.error")
    assert "ValueError" in entry["exception"]
