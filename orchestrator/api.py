"""The hot routes as plain ASGI: parse, recommend, write bytes. FastAPI serves the rest and documents these.

A client that hangs up cancels its request: the downstream calls end and the slot is free.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus
from typing import Generic, TypeVar

import orjson
import structlog
from starlette.types import Receive, Scope, Send

from orchestrator import inbound
from orchestrator.errors import GoneError, HttpAnswer, OrchestratorError, http_answer
from orchestrator.metrics import REQUESTS, child
from orchestrator.parse import header

JSON_TYPE = (b"content-type", b"application/json")
NO_HEADERS: "Headers" = ()
REQUEST_ID_HEADER = b"x-request-id"
log = structlog.get_logger(__name__)
Headers = tuple[tuple[bytes, bytes], ...]
T = TypeVar("T")
Parse = Callable[[Scope, Receive], Awaitable[T]]
Work = Callable[[T, str], Awaitable[bytes]]


class Endpoint(Generic[T]):
    """One hot route: `parse` reads the request, `work` makes the answer's JSON of it and the request id."""

    def __init__(self, name: str, parse: Parse[T], work: Work[T], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._name = name
        self._parse = parse
        self._work = work
        self._status = int(status)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        request_id = inbound.request_id(header(scope, REQUEST_ID_HEADER))
        try:
            request = await self._parse(scope, receive)
            body = await self._unless_gone(request, request_id, receive)
            status, more = self._status, NO_HEADERS
        except GoneError:
            child(REQUESTS, self._name, "499").inc()
            return
        except Exception as error:
            answer = answer_of(error)
            status, body, more = int(answer.status), error_body(answer, request_id), retry_header(answer)
        child(REQUESTS, self._name, str(status)).inc()
        await respond(send, status, body, request_id, more)

    async def _unless_gone(self, request: T, request_id: str, receive: Receive) -> bytes:
        """The answer, or GoneError when the client hangs up before it is there."""
        watch = _Disconnect(receive)
        try:
            return await self._work(request, request_id)
        except asyncio.CancelledError:
            if not watch.happened:
                raise
            watch.forgive()
            raise GoneError from None
        finally:
            watch.end()


class _Disconnect:
    """Cancels the task that made it when the client hangs up, until `end`."""

    def __init__(self, receive: Receive) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self.happened = False
        self._listener = asyncio.ensure_future(self._listen(receive))

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.happened = True
        self._task.cancel()

    def forgive(self) -> None:
        """Take back the cancellation, so that the task can end normally."""
        self._task.uncancel()

    def end(self) -> None:
        """Stop listening."""
        self._listener.cancel()


async def respond(send: Send, status: int, body: bytes, request_id: str, more: Headers = ()) -> None:
    """Write one JSON answer."""
    length = (b"content-length", str(len(body)).encode())
    headers = [JSON_TYPE, length, (REQUEST_ID_HEADER, request_id.encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answer_of(error: Exception) -> HttpAnswer:
    """The HTTP form of an error; one that nobody foresaw is logged here."""
    if not isinstance(error, OrchestratorError):
        log.error("unforeseen_error", exc_info=error)
    return http_answer(error)


def error_body(answer: HttpAnswer, request_id: str) -> bytes:
    """The one error shape."""
    fields = [asdict(field) for field in answer.fields]
    body = {"code": answer.code, "message": answer.message, "request_id": request_id, "fields": fields}
    return orjson.dumps({"error": body})


def retry_header(answer: HttpAnswer) -> Headers:
    """Retry-After, where a retry makes sense."""
    return () if answer.retry_after is None else ((b"retry-after", str(answer.retry_after).encode()),)
