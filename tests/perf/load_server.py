"""A small HTTP server in a process of its own, whose delays, stalls and failures are known."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection

LEVELS = b"null", b'{"level":"L2","reasons":["late"],"coverage":1.0}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What goes back to one request: `parts` one after another, after a delay; then the end, if `close`."""

    parts: tuple[bytes, ...]
    delay_s: float = 0.0
    close: bool = False


Behaviour = Callable[[int, int], Reply]  # the number of the request and of its connection, from 0


def recommendation(release: int, degraded: bytes = LEVELS[0]) -> bytes:
    """A body as the orchestrator writes it."""
    items = b'[{"item_id":"i1","metadata":{"title":"\\"model_version\\":\\"7\\""}}]'
    return b'{"items":%s,"model_version":"%d","variant":"a","degraded":%s}' % (items, release, degraded)


def http(body: bytes, status: bytes = b"200 OK", headers: bytes = b"") -> bytes:
    """A whole HTTP answer."""
    return b"HTTP/1.1 %s\r\ncontent-length: %d\r\n%s\r\n%s" % (status, len(body), headers, body)


def two_speeds(number: int, _: int) -> Reply:
    """20 ms, every tenth 80 ms."""
    return Reply(parts=(http(recommendation(number)),), delay_s=0.08 if number % 10 == 9 else 0.02)


def stalls_once(number: int, _: int) -> Reply:
    """5 ms, but the 200th stops the whole server for a second."""
    if number == 200:
        time.sleep(1)
    return Reply(parts=(http(recommendation(1)),), delay_s=0.005)


def numbers_connections(_: int, connection: int) -> Reply:
    """The release is the number of the connection."""
    return Reply(parts=(http(recommendation(connection)),))


def degrades(number: int, _: int) -> Reply:
    """Every fourth from a lower rung."""
    return Reply(parts=(http(recommendation(2, LEVELS[number % 4 == 0])),))


def unavailable(number: int, _: int) -> Reply:
    """503."""
    return Reply(parts=(http(b'{"error":{}}', b"503 Service Unavailable"),))


def hangs_up(number: int, _: int) -> Reply:
    """Every fifth answer ends in its middle."""
    whole = http(recommendation(1))
    return Reply(parts=(whole[:60],), close=True) if number % 5 == 0 else Reply(parts=(whole,))


def one_each(number: int, _: int) -> Reply:
    """A connection serves one request."""
    return Reply(parts=(http(recommendation(1), headers=b"connection: close\r\n"),), close=True)


def garbage(number: int, _: int) -> Reply:
    """Not HTTP."""
    return Reply(parts=(b"good morning\r\n\r\n",))


def off_topic(number: int, _: int) -> Reply:
    """HTTP, but no recommendation."""
    return Reply(parts=(http(b'{"items":[]}'),))


def silent(number: int, _: int) -> Reply:
    """Nothing, ever."""
    return Reply(parts=())


def in_pieces(number: int, _: int) -> Reply:
    """An announcement, then chunks of an answer that is spaced another way."""
    head = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    halves = b'{"model_version": "3", ', b'"degraded": null}'
    return Reply(parts=(head, *(b"%x\r\n%s\r\n" % (len(half), half) for half in halves), b"0\r\n\r\n"))


def dies(number: int, _: int) -> Reply:
    """The process is gone at the 100th request."""
    if number == 100:
        os._exit(0)
    return Reply(parts=(http(recommendation(1)),))


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[int]:
    """The port of a server that behaves so."""
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(behaviour, there), daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        process.kill()
        process.join()
        here.close()


class _Requests(asyncio.Protocol):
    served = opened = 0

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._connection = -1
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._connection < 0:  # one that asks nothing has no number
            self._connection, _Requests.opened = _Requests.opened, _Requests.opened + 1
        for _ in range(data.count(b"\r\n\r\n")):
            reply = self._behaviour(_Requests.served, self._connection)
            _Requests.served += 1
            asyncio.get_running_loop().call_later(reply.delay_s, self._reply, reply)

    def _reply(self, reply: Reply) -> None:
        for part in reply.parts:
            self._transport.write(part)
        if reply.close:
            self._transport.close()


def _serve(behaviour: Behaviour, pipe: Connection) -> None:
    async def forever() -> None:
        server = await asyncio.get_running_loop().create_server(
            lambda: _Requests(behaviour), "127.0.0.1", 0, backlog=4096
        )
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(forever())
