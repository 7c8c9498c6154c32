"""The withdrawn set through a real Redis: written by one orchestrator, followed by another."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from deploy.triton.backends.overlay import STREAM, state_key
from feature_repo.schema import country_code
from feature_repo.vectors import item_key
from orchestrator.availability import Availability, AvailabilityRequest
from orchestrator.errors import NotStoredError
from orchestrator.policy import OverlayPolicy
from orchestrator.popular import Limits
from orchestrator.redis_link import RedisLink
from orchestrator.withdrawn import WithdrawnFollower
from tests.ports import free_port
from tests.redis_server import redis_server

pytestmark = pytest.mark.anyio
PATIENT = OverlayPolicy(read_s=5.0, write_s=5.0)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_server() as port:
        yield port


@asynccontextmanager
async def linked(port: int) -> AsyncIterator[RedisLink]:
    link = RedisLink(f"redis://127.0.0.1:{port}/0", connect_timeout_s=5.0)
    await link.start()
    yield link
    await link.close()


@pytest.fixture
async def link(port: int) -> AsyncIterator[RedisLink]:
    async with linked(port) as link:
        await link.execute([("FLUSHALL",)], 5.0)
        yield link


def follower(link: RedisLink, folder: Path) -> WithdrawnFollower:
    limits: Limits = {}
    return WithdrawnFollower(link, folder / "withdrawn.json", PATIENT, limits)


def batch(*items: dict[str, object]) -> AvailabilityRequest:
    return AvailabilityRequest.model_validate({"items": list(items)})


def gone(*numbers: int) -> AvailabilityRequest:
    return batch(*({"item_id": f"i{n}", "in_stock": False} for n in numbers))


def keys(*numbers: int) -> list[int]:
    return sorted(item_key(f"i{n}") for n in numbers)


async def test_one_writes_and_others_follow(link: RedisLink, tmp_path: Path) -> None:
    writer, early = Availability(link, PATIENT), follower(link, tmp_path / "early")
    await early.start()
    for first in range(0, 3000, 1000):
        await writer.change(gone(*range(first, first + 1000)), "id")
    await writer.change(batch({"item_id": "i7", "in_stock": True}, {"item_id": "i8", "regions": ["DE"]}), "id")
    late = follower(link, tmp_path / "late")
    await late.start()
    await early.refresh()
    assert early.keys.tolist() == late.keys.tolist() == keys(*(n for n in range(3000) if n != 7))
    assert early.limits == late.limits == {item_key("i8"): frozenset({country_code("DE")})}
    assert early.position == late.position


async def test_concurrent_writers_lose_nothing(link: RedisLink, tmp_path: Path) -> None:
    writer, one = Availability(link, PATIENT), follower(link, tmp_path)
    await one.start()
    answers = await asyncio.gather(*(writer.change(gone(n), "id") for n in range(200)))
    assert len(set(answers)) == 200
    await one.refresh()
    assert one.keys.tolist() == keys(*range(200))


async def test_a_trimmed_stream_is_no_gap(link: RedisLink, tmp_path: Path) -> None:
    writer, one = Availability(link, PATIENT), follower(link, tmp_path)
    await writer.change(gone(1), "id")
    await one.start()
    await writer.change(batch({"item_id": "i1", "reset": True}), "id")
    await writer.change(gone(2), "id")
    await link.execute([("XTRIM", STREAM, "MAXLEN", 0)], 5.0)
    await one.refresh()
    assert one.keys.tolist() == keys(2)


async def test_a_redis_that_comes_back_empty_takes_nothing_back(tmp_path: Path) -> None:
    port = free_port()
    with redis_server(port):
        async with linked(port) as link:
            one = follower(link, tmp_path)
            await Availability(link, PATIENT).change(gone(1), "id")
            await one.start()
    async with linked(port) as link:
        again = follower(link, tmp_path)
        await again.start()
        assert again.keys.tolist() == keys(1)
        with pytest.raises(NotStoredError):
            await Availability(link, PATIENT).change(gone(2), "id")
        with redis_server(port):
            while not link.available:
                await asyncio.sleep(0.02)
            await Availability(link, PATIENT).change(gone(3), "id")
            await again.refresh()
    assert again.keys.tolist() == keys(1, 3)


async def test_a_redis_that_is_full_takes_nothing_of_a_batch(link: RedisLink) -> None:
    await link.execute([("CONFIG", "SET", "maxmemory", 1)], 5.0)
    with pytest.raises(NotStoredError):
        await Availability(link, PATIENT).change(gone(1), "id")
    await link.execute([("CONFIG", "SET", "maxmemory", 0)], 5.0)
    found = await link.execute([("EXISTS", STREAM, state_key("in_stock"), "{overlay}:sequence")], 5.0)
    assert found == [0]


@pytest.mark.parametrize("key", ["{overlay}:sequence", STREAM, state_key("is_safe")])
async def test_keys_of_another_kind_are_no_crash(link: RedisLink, tmp_path: Path, key: str) -> None:
    await link.execute([("LPUSH", key, "x")], 5.0)
    one = follower(link, tmp_path)
    await one.start()
    assert one.contact.age() is None
    if key != state_key("is_safe"):
        with pytest.raises(NotStoredError):
            await Availability(link, PATIENT).change(gone(1), "id")
