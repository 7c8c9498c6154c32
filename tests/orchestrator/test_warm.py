"""Warming caches what the first request of an active user would have had to compute."""

import numpy as np
import orjson
import pytest

from feature_repo.recent import Action, pack_action, recent_key
from feature_repo.rows import active_key, user_key
from model_repository.traffic import TRAFFIC_KEY
from orchestrator.errors import UnavailableError
from orchestrator.fakes import FakeInference, FakeStore
from orchestrator.stored import NO_TOKEN, parse_embedding
from orchestrator.warming import ROWS, WarmError, active_users, served_releases, warm
from tests.orchestrator.conftest import KNOWN_USER, World, packed, record, served

pytestmark = pytest.mark.anyio
PREFIX = "embedding:tower:"


def store_of(users: list[str], rows: list[str]) -> FakeStore:
    store = FakeStore(values={TRAFFIC_KEY: record(), active_key(): orjson.dumps(users)})
    store.values |= {user_key(user): packed() for user in rows}
    return store


def cached(store: FakeStore) -> dict[str, bytes]:
    return {key.split(":")[-1]: value for key, value in store.values.items() if key.startswith("embedding:")}


async def test_every_active_user_with_a_row_is_cached():
    users = [f"u{i}" for i in range(ROWS + 3)]
    store, triton = store_of(users, rows=users[1:]), FakeInference()
    (done,) = await warm(store, triton, [served()], users, ttl_s=3600)
    assert (done.users, done.cached) == (ROWS + 3, ROWS + 2)
    assert set(cached(store)) == set(users[1:])
    assert all(parse_embedding(value, NO_TOKEN) is not None for value in cached(store).values())
    assert len(triton.calls) == 2


async def test_an_embedding_carries_the_token_of_the_users_latest_event():
    store = store_of(["a"], rows=["a"])
    latest, before = (pack_action(Action(at=at, key=8, event=at, kind=1)) for at in (9, 7))
    store.lists[recent_key("a")] = [latest, before]
    await warm(store, FakeInference(), [served()], ["a"], ttl_s=3600)
    (value,) = cached(store).values()
    assert parse_embedding(value, (9).to_bytes(8, "little")) is not None
    assert parse_embedding(value, (7).to_bytes(8, "little")) is None


async def test_a_warmed_user_needs_no_user_tower(world: World):
    await warm(world.store, world.triton, [served()], [KNOWN_USER], ttl_s=3600)
    service = world.service()
    await service.start()
    world.triton.calls.clear()
    async with world.client(service) as http:
        await http.get("/recommend", params={"user_id": KNOWN_USER})
    await service.stop()
    assert [name for name, _ in world.triton.calls] == ["recommend_1"]


async def test_releases_of_one_tower_are_warmed_once():
    store = store_of(["a"], rows=["a"])
    releases = [served(1), served(2), served(3, line=2, digest="other")]
    done = await warm(store, FakeInference(), releases, ["a"], ttl_s=3600)
    assert [tower.tower for tower in done] == ["tower", "other"]


async def test_a_non_finite_embedding_is_not_cached():
    def broken(call, arrays):
        arrays["user_embedding"][0, 0] = np.nan
        return arrays

    store = store_of(["a", "b"], rows=["a", "b"])
    (done,) = await warm(store, FakeInference(alter=broken), [served()], ["a", "b"], ttl_s=3600)
    assert done.cached == 1
    assert set(cached(store)) == {"b"}


async def test_without_users_or_releases_it_says_who_writes_them():
    with pytest.raises(WarmError, match="materialize"):
        await active_users(FakeStore(), 10)
    with pytest.raises(WarmError, match="publish"):
        await served_releases(FakeStore(), None)
    with pytest.raises(WarmError, match=r"release 7 is not loaded; the record holds \[1\]"):
        await served_releases(store_of([], []), 7)
    with pytest.raises(WarmError, match="cannot be read"):
        await served_releases(FakeStore(values={TRAFFIC_KEY: b"{}"}), None)


async def test_only_as_many_as_asked_for():
    assert await active_users(store_of(["a", "b", "c"], []), 2) == ["a", "b"]


async def test_a_server_that_is_away_is_an_error():
    store, triton = store_of(["a"], rows=["a"]), FakeInference(failure={"user_tower": UnavailableError("away")})
    with pytest.raises(UnavailableError):
        await warm(store, triton, [served()], ["a"], ttl_s=3600)
