"""Reading a request off the wire, before anything is done for it: from a query string, or from a JSON body."""

import asyncio
from typing import Generic, TypeVar

from pydantic import BaseModel
from starlette.types import Message, Receive, Scope

from orchestrator import inbound
from orchestrator.errors import GoneError, MalformedError, SlowBodyError, TooLargeError
from orchestrator.keyring import AdminKey
from orchestrator.schemas import RecommendRequest

M = TypeVar("M", bound=BaseModel)


async def parse_query(scope: Scope, receive: Receive) -> RecommendRequest:
    """The request of `GET /recommend`."""
    del receive
    return inbound.from_query(scope["query_string"])


class ParseJson(Generic[M]):
    """A JSON body of at most `most_bytes` as the model; one that trickles in is given up after `body_s` seconds.

    With a `key` only who shows it is read at all.
    """

    def __init__(
        self, model: type[M], body_s: float, most_bytes: int = inbound.BODY_BYTES, key: AdminKey | None = None
    ) -> None:
        self._model = model
        self._body_s = body_s
        self._most_bytes = most_bytes
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive) -> M:
        """Raises ClientError before the body is read where the headers tell enough."""
        if self._key is not None:
            self._key.require(header(scope, b"authorization"))
        inbound.require_json(header(scope, b"content-type"))
        if scope["query_string"]:
            raise MalformedError("this endpoint takes no query parameters")
        length = header(scope, b"content-length") or b"0"
        if not length.isdigit() or len(length) > 9 or int(length) > self._most_bytes:
            raise self._too_large()
        return inbound.from_body(await self._body(receive), self._model)

    async def _body(self, receive: Receive) -> bytes:
        first = await self._part(receive, self._body_s)
        body = first.get("body", b"")
        if first.get("more_body"):
            body = await self._rest(body, receive)
        if len(body) > self._most_bytes:
            raise self._too_large()
        return bytes(body)

    async def _rest(self, body: bytes, receive: Receive) -> bytes:
        parts, size = [body], len(body)
        ends = asyncio.get_running_loop().time() + self._body_s
        more = True
        while more and size <= self._most_bytes:
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
            raise GoneError
        return message

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"the body is longer than {self._most_bytes} bytes")


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of that (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None
