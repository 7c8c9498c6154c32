"""Events and the impression log on a real Redis, with two orchestrators: once only, in effect for both, none lost."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

from feature_repo.recent import recent_key
from feature_repo.rows import marker_key, user_key
from feature_repo.schema import SCHEMA
from feature_repo.served import EVENTS, FIELD, IMPRESSIONS
from feature_repo.vectors import history_entry, item_key
from model_repository.traffic import TRAFFIC_KEY
from orchestrator.app import assemble
from orchestrator.errors import StageError
from orchestrator.fakes import FakeInference, fake_id
from orchestrator.policy import EventPolicy, LogPolicy
from orchestrator.redis_link import RedisLink
from orchestrator.service import Service, build
from tests.orchestrator.conftest import KNOWN_USER, marker, packed, patient, record
from tests.redis_server import redis_server

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed"),
]
TIMEOUT_S = 2.0


@dataclass
class Replica:
    """One orchestrator of several on the same Redis."""

    link: RedisLink
    triton: FakeInference
    service: Service
    http: httpx.AsyncClient

    async def recommend(self) -> dict:
        answer = await self.http.get("/recommend", params={"user_id": KNOWN_USER})
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def send(self, *event_ids: str, item: int = 7, **more: object) -> httpx.Response:
        said = {"user_id": KNOWN_USER, "item_id": fake_id(item), "event_type": "click"} | more
        return await self.http.post("/v1/events", json={"events": [said | {"event_id": one} for one in event_ids]})


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with redis_server() as chosen:
        yield chosen


@pytest.fixture
async def store(port: int) -> AsyncIterator[RedisLink]:
    """An empty Redis but for the traffic record and one user."""
    link = RedisLink(f"redis://127.0.0.1:{port}/0")
    await link.start()
    await link.execute([("CONFIG", "SET", "maxmemory", 0), ("FLUSHALL",)], TIMEOUT_S)
    values = {TRAFFIC_KEY: record(), marker_key(): marker(), user_key(KNOWN_USER): packed()}
    await link.execute([("SET", key, value) for key, value in values.items()], TIMEOUT_S)
    yield link
    await link.close()


@pytest.fixture
async def replicas(port: int, store: RedisLink, tmp_path: Path) -> AsyncIterator[list[Replica]]:
    """Two of them."""
    del store
    both = [await started(port, tmp_path / str(n)) for n in range(2)]
    yield both
    for replica in both:
        await replica.http.aclose()
        await replica.service.stop()
        await replica.link.close()


async def started(port: int, folder: Path) -> Replica:
    folder.mkdir()
    link, triton = RedisLink(f"redis://127.0.0.1:{port}/0"), FakeInference()
    policy = patient(2.0, events=EventPolicy(timeout_s=2.0, stream=1000), log=LogPolicy(retry_s=0.05))

    async def no_rows() -> None:
        return None

    file = folder / "impressions.jsonl"
    service = build(policy, link, connect=lambda target: triton, folder=folder, impressions=file, open_rows=no_rows)
    await link.start()
    await service.start()
    transport = httpx.ASGITransport(app=assemble(service), raise_app_exceptions=False)
    return Replica(link, triton, service, httpx.AsyncClient(transport=transport, base_url="http://test"))


async def stream(store: RedisLink, name: str) -> list[dict]:
    (entries,) = await store.execute([("XRANGE", name, "-", "+")], TIMEOUT_S)
    assert all(fields[0] == FIELD and len(fields) == 2 for _, fields in entries)
    return [orjson.loads(fields[1]) for _, fields in entries]


async def test_of_many_at_once_with_one_id_a_single_one_is_written(store: RedisLink, replicas: list[Replica]):
    async def until_taken(replica: Replica) -> tuple[int, int]:
        while (answer := await replica.send("one")).status_code == 503:
            await asyncio.sleep(0.02)
        assert answer.status_code == 202, answer.text
        return answer.json()["accepted"], answer.json()["duplicates"]

    answers = await asyncio.gather(*(until_taken(replicas[n % 2]) for n in range(12)))
    assert sorted(answers) == [(0, 1)] * 11 + [(1, 0)]
    assert [entry["event_id"] for entry in await stream(store, EVENTS)] == ["one"]


async def test_a_click_taken_by_one_is_in_the_next_answer_of_the_other(store: RedisLink, replicas: list[Replica]):
    one, other = replicas
    await other.recommend()
    await other.service.writer.flush()
    assert (await one.send("a")).status_code == 202
    other.triton.calls.clear()
    await other.recommend()
    assert other.triton.calls == [("user_tower", 1), ("recommend_1", 1)]
    assert other.triton.inputs[-1][1][0] == history_entry(item_key(fake_id(7)), 1)


async def test_an_embedding_that_the_other_writes_late_is_not_used(store: RedisLink, replicas: list[Replica]):
    one, other = replicas
    await other.recommend()
    pending = list(other.service.writer._commands)  # made before the event
    assert (await one.send("a")).status_code == 202
    other.service.writer._commands.extend(pending)
    await other.service.writer.flush()
    (kept,) = await store.execute([("EXISTS", f"embedding:tower:{SCHEMA.hash}:{KNOWN_USER}")], TIMEOUT_S)
    assert kept == 1
    one.triton.calls.clear()
    await one.recommend()
    assert ("user_tower", 1) in one.triton.calls


async def test_what_is_stored_forgets_itself(store: RedisLink, replicas: list[Replica]):
    assert (await replicas[0].send("a", session_id="s")).status_code == 202
    (seen,) = (await store.execute([("KEYS", "seen:*")], TIMEOUT_S))[0]
    keys = [seen, recent_key(KNOWN_USER), f"session:s:{KNOWN_USER}"]
    left = await store.execute([("TTL", key) for key in keys], TIMEOUT_S)
    policy = replicas[0].service.policy.events
    assert left == pytest.approx([policy.seen_s, policy.ttl_s, policy.session_s], abs=5)


async def test_latest_actions_and_streams_are_bounded(store: RedisLink, replicas: list[Replica]):
    for batch in range(6):
        answer = await replicas[0].send(*(f"{batch}-{n}" for n in range(500)))
        assert answer.json() == {"accepted": 500, "duplicates": 0}
    actions, events = await store.execute([("LLEN", recent_key(KNOWN_USER)), ("XLEN", EVENTS)], TIMEOUT_S)
    assert actions == replicas[0].service.policy.events.items
    assert 1000 <= events <= 1200  # approximately: whole nodes go
    entries = await stream(store, EVENTS)
    assert [entry["seq"] for entry in entries] == list(range(3001 - len(entries), 3001))


async def test_at_maxmemory_events_are_refused_and_impressions_wait(store: RedisLink, replicas: list[Replica]):
    await store.execute([("CONFIG", "SET", "maxmemory", 1)], TIMEOUT_S)
    answer = await replicas[0].send("a")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert (await replicas[0].recommend())["degraded"] is None
    await replicas[0].service.log.flush()
    assert await stream(store, IMPRESSIONS) == []
    await store.execute([("CONFIG", "SET", "maxmemory", 0)], TIMEOUT_S)
    assert (await replicas[0].send("a")).json() == {"accepted": 1, "duplicates": 0}
    async with asyncio.timeout(10):
        while len(await stream(store, IMPRESSIONS)) < 1:
            await asyncio.sleep(0.02)


async def test_redis_killed_and_back_loses_no_impression(tmp_path: Path):
    with redis_server() as port:
        replica = await started(port, tmp_path / "one")
        store = RedisLink(f"redis://127.0.0.1:{port}/0")
        await store.start()
        await store.execute([("SET", TRAFFIC_KEY, record()), ("SET", marker_key(), marker())], TIMEOUT_S)
        await replica.service.traffic.refresh()
        with pytest.raises(StageError):
            await store.execute([("SHUTDOWN", "NOSAVE")], TIMEOUT_S)
        await until(lambda: not replica.link.available)
        for _ in range(5):
            await replica.recommend()
        assert (await replica.send("a")).status_code == 503
        await replica.service.log.flush()
    with redis_server(port):
        await until(lambda: store.available and replica.link.available)
        async with asyncio.timeout(10):
            while len(entries := await stream(store, IMPRESSIONS)) < 5:
                await asyncio.sleep(0.02)
        assert sorted(entry["seq"] for entry in entries) == [1, 2, 3, 4, 5]
        await replica.http.aclose()
        await replica.service.stop()
        await replica.link.close()
        await store.close()


async def until(true: object) -> None:
    assert callable(true)
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.02)
