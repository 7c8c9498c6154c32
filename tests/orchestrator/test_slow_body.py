"""A body that trickles in is given up, and nobody waits for it."""

import asyncio

import pytest

from orchestrator.errors import GoneError, SlowBodyError
from orchestrator.parse import ParseJson
from orchestrator.schemas import RecommendRequest

pytestmark = pytest.mark.anyio
SCOPE = {"headers": [(b"content-type", b"application/json")], "query_string": b""}


async def test_a_body_that_never_ends_is_given_up():
    async def receive() -> dict[str, object]:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async with asyncio.timeout(5):
        with pytest.raises(SlowBodyError):
            await ParseJson(RecommendRequest, 0.1)(SCOPE, receive)


async def test_a_body_that_never_begins_is_given_up():
    async with asyncio.timeout(5):
        with pytest.raises(SlowBodyError):
            await ParseJson(RecommendRequest, 0.05)(SCOPE, asyncio.Event().wait)


async def test_a_client_that_leaves_in_the_middle_is_gone():
    messages = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, object]:
        return next(messages)

    with pytest.raises(GoneError):
        await ParseJson(RecommendRequest, 5.0)(SCOPE, receive)
