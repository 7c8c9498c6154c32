"""The Redis client against a real redis-server, and against peers that misbehave."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from orchestrator.errors import BadAnswerError, LateError, UnavailableError
from orchestrator.redis_link import Address, RedisLink
from tests.ports import free_port
from tests.redis_server import redis_server

pytestmark = pytest.mark.anyio
LONG_S = 30.0  # a timeout that is waited for by nobody
needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_server() as chosen:
        yield chosen


@pytest.fixture
async def link(port: int) -> AsyncIterator[RedisLink]:
    link = RedisLink(f"redis://127.0.0.1:{port}/0")
    await link.start()
    yield link
    await link.close()


@needs_redis
async def test_one_round_trip_of_several_commands(link: RedisLink):
    assert await link.execute([("SET", "a", b"\x00\xff"), ("LPUSH", "l", b"1", b"2"), ("MGET", "a", "none")], 1) == [
        b"OK",
        2,
        [b"\x00\xff", None],
    ]


@needs_redis
async def test_many_at_once_get_their_own_replies(link: RedisLink):
    async def echo(number: int) -> list[object]:
        return await link.execute([("ECHO", number), ("ECHO", f"x{number}")], 1)

    replies = await asyncio.gather(*(echo(i) for i in range(500)))
    assert replies == [[str(i).encode(), f"x{i}".encode()] for i in range(500)]


@needs_redis
async def test_a_refused_command_is_a_bad_answer_and_harms_nobody_else(link: RedisLink):
    await link.execute([("SET", "text", "x")], 1)
    with pytest.raises(BadAnswerError):
        await link.execute([("LPUSH", "text", "y")], 1)
    assert await link.execute([("ECHO", "fine")], 1) == [b"fine"]


@needs_redis
async def test_a_late_reply_does_not_go_to_the_next_caller(link: RedisLink):
    with pytest.raises(LateError):
        await link.execute([("BLPOP", "nothing", 0.1)], 0.01)  # type: ignore[list-item]
    assert await link.execute([("ECHO", "mine")], 1) == [b"mine"]


@needs_redis
async def test_a_cancelled_call_does_not_shift_the_replies(link: RedisLink):
    call = asyncio.create_task(link.execute([("ECHO", "lost")], 1))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert await link.execute([("ECHO", "mine")], 1) == [b"mine"]


async def test_nobody_there_fails_at_once_and_often():
    link = RedisLink(f"redis://127.0.0.1:{free_port()}/0")
    await link.start()
    began = time.monotonic()
    for _ in range(1000):
        with pytest.raises(UnavailableError):
            await link.execute([("PING",)], LONG_S)
    assert time.monotonic() - began < LONG_S
    assert not link.available
    await link.close()


@needs_redis
async def test_it_comes_back_after_an_outage():
    port = free_port()
    link = RedisLink(f"redis://127.0.0.1:{port}/0")
    with redis_server(port):
        await link.start()
        await link.execute([("PING",)], 1)
    await eventually(lambda: not link.available)
    with redis_server(port):
        await eventually(lambda: link.available)
        assert await link.execute([("ECHO", "back")], 1) == [b"back"]
    await link.close()


class BlackHole(asyncio.Protocol):
    """Answers the first PING and then nothing any more."""

    def __init__(self, connections: list[asyncio.BaseTransport]) -> None:
        self.connections = connections
        self.first = not connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections.append(transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.first and b"PING" in data:
            self.transport.write(b"+PONG\r\n")  # type: ignore[attr-defined]


async def test_a_peer_that_stops_answering_is_given_up():
    connections: list[asyncio.BaseTransport] = []
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: BlackHole(connections), "127.0.0.1", 0)
    link = RedisLink(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    await link.start()
    assert link.available
    for _ in range(40):
        with pytest.raises((LateError, UnavailableError)):
            await link.execute([("GET", "a")], 0.02)
    assert not link.available
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        await link.execute([("GET", "a")], LONG_S)
    assert time.monotonic() - began < LONG_S
    await link.close()
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("url", ["http://x", "redis://", "rediss://x:1/0"])
async def test_other_addresses_are_refused(url: str):
    with pytest.raises(ValueError, match="redis://"):
        Address.parse(url)


async def test_an_address_may_carry_a_password_and_a_database():
    parsed = Address.parse("redis://:p%40ss@host:7/3")
    assert (parsed.host, parsed.port) == ("host", 7)
    assert parsed.greeting == (("AUTH", "default", "p@ss"), ("SELECT", 3), ("PING",))


async def eventually(holds, seconds: float = 5.0) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        await asyncio.sleep(0.02)
