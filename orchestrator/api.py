"""The hot routes as plain ASGI: parse, recommend, write bytes. FastAPI serves the rest and documents these.

A client that hangs up cancels its request: the downstream calls end and the slot is free.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from http import HTTPStatus

import orjson
import structlog
from starlette.types import Message, Receive, Scope, Send

from orchestrator import inbound
from orchestrator.errors import HttpAnswer, MalformedError, OrchestratorError, SlowBodyError, TooLargeError, http_answer
from orchestrator.metrics import REQUESTS, child
from orchestrator.recommend import Recommender
from orchestrator.schemas import RecommendRequest

JSON_TYPE = (b"content-type", b"application/json")
NO_HEADERS: "Headers" = ()
REQUEST_ID_HEADER = b"x-request-id"
log = structlog.get_logger(__name__)
Headers = tuple[tuple[bytes, bytes], ...]
Parse = Callable[[Scope, Receive], Awaitable[RecommendRequest]]


class Endpoint:
    """One hot route. `recommender` answers; `parse` reads the request."""

    def __init__(self, name: str, parse: Parse, recommender: Recommender) -> None:
        self._name = name
        self._parse = parse
        self._recommender = recommender

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens."""
        request_id = inbound.request_id(header(scope, REQUEST_ID_HEADER))
        try:
            request = await self._parse(scope, receive)
            body = await self._unless_gone(request, request_id, receive)
            status, more = int(HTTPStatus.OK), NO_HEADERS
        except _Gone:
            child(REQUESTS, self._name, "499").inc()
            return
        except Exception as error:
            answer = answer_of(error)
            status, body, more = int(answer.status), error_body(answer, request_id), retry_header(answer)
        child(REQUESTS, self._name, str(status)).inc()
        await respond(send, status, body, request_id, more)

    async def _unless_gone(self, request: RecommendRequest, request_id: str, receive: Receive) -> bytes:
        """The answer, or _Gone when the client hangs up before it is there."""
        watch = _Disconnect(receive)
        try:
            return await self._recommender.recommend(request, request_id)
        except asyncio.CancelledError:
            if not watch.happened:
                raise
            watch.forgive()
            raise _Gone from None
        finally:
            watch.end()


class _Gone(Exception):  # noqa: N818
    """Nobody is left to answer."""


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


async def parse_get(scope: Scope, receive: Receive) -> RecommendRequest:
    """The request of `GET /recommend`."""
    del receive
    return inbound.from_query(scope["query_string"])


class ParsePost:
    """The request of `POST /v1/recommend`; a body that trickles in is given up after `body_s` seconds."""

    def __init__(self, body_s: float) -> None:
        self._body_s = body_s

    async def __call__(self, scope: Scope, receive: Receive) -> RecommendRequest:
        """Raises ClientError before the body is read where the headers tell enough."""
        inbound.require_json(header(scope, b"content-type"))
        if scope["query_string"]:
            raise MalformedError("this endpoint takes no query parameters")
        length = header(scope, b"content-length") or b"0"
        if not length.isdigit() or len(length) > 9 or int(length) > inbound.BODY_BYTES:
            raise TooLargeError(f"the body is longer than {inbound.BODY_BYTES} bytes")
        return inbound.from_body(await self._body(receive))

    async def _body(self, receive: Receive) -> bytes:
        first = await self._part(receive, self._body_s)
        body = first.get("body", b"")
        if first.get("more_body"):
            body = await self._rest(body, receive)
        if len(body) > inbound.BODY_BYTES:
            raise TooLargeError(f"the body is longer than {inbound.BODY_BYTES} bytes")
        return bytes(body)

    async def _rest(self, body: bytes, receive: Receive) -> bytes:
        parts, size = [body], len(body)
        ends = asyncio.get_running_loop().time() + self._body_s
        more = True
        while more and size <= inbound.BODY_BYTES:
            message = await self._part(receive, ends - asyncio.get_running_loop().time())
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
        return b"".join(parts)

    @staticmethod
    async def _part(receive: Receive, timeout_s: float) -> Message:
        try:
            async with asyncio.timeout(timeout_s):
                message = await receive()
        except TimeoutError:
            raise SlowBodyError("the body did not arrive in time") from None
        if message["type"] == "http.disconnect":
            raise _Gone
        return message


async def respond(send: Send, status: int, body: bytes, request_id: str, more: Headers = ()) -> None:
    """Write one JSON answer."""
    length = (b"content-length", str(len(body)).encode())
    headers = [JSON_TYPE, length, (REQUEST_ID_HEADER, request_id.encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


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
