"""Availability on fakes: what is asked for and refused, and what it does to every rung."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import orjson
import pytest
from pydantic import SecretStr

from deploy.triton.backends.overlay import state_key
from feature_repo.vectors import item_key
from model_repository.traffic import TRAFFIC_KEY
from orchestrator.app import assemble
from orchestrator.errors import LateError, UnavailableError
from orchestrator.fakes import fake_id
from orchestrator.keyring import AdminKey
from orchestrator.schemas import MOST_ITEMS
from tests.orchestrator.conftest import KNOWN_USER, Running, World

pytestmark = pytest.mark.anyio

PATH, KEY = "/v1/items/availability", "an-admin-key-for-tests"
SHOWN = {"Authorization": f"Bearer {KEY}"}


class Shop(Running):
    """A running service whose admin has a key."""

    async def say(self, *items: dict[str, Any], headers: dict[str, str] = SHOWN) -> httpx.Response:
        answer = await self.http.post(PATH, json={"items": list(items)}, headers=headers)
        await self.service.withdrawn.refresh()
        return answer

    async def shown(self, **parameters: Any) -> tuple[str, set[str]]:
        body = await self.recommend(**{"num_items": MOST_ITEMS} | parameters)
        level = body["degraded"]["level"] if body["degraded"] else "L0"
        return level, {item["item_id"] for item in body["items"]}


@pytest.fixture
async def shop(world: World) -> AsyncIterator[Shop]:
    service = world.service()
    await service.start()
    app = assemble(service, key=AdminKey(SecretStr(KEY)))
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield Shop(world, service, http)
    await service.stop()


async def test_a_batch_is_stored_and_numbered(shop: Shop) -> None:
    first = await shop.say({"item_id": "a", "in_stock": False}, {"item_id": "b", "price": 3, "regions": ["de", "FR"]})
    assert first.status_code == 200
    assert first.json() == {"accepted": 2, "position": 1}
    assert (await shop.say({"item_id": "c", "is_safe": False})).json() == {"accepted": 1, "position": 2}
    packed = {name: item_key(name).to_bytes(8, "little", signed=True) for name in "abc"}
    assert shop.world.store.hashes == {
        state_key("in_stock"): {packed["a"]: b"0"},
        state_key("is_safe"): {packed["c"]: b"0"},
        state_key("price"): {packed["b"]: b"3.0"},
        state_key("regions"): {packed["b"]: b"83,148"},
    }


@pytest.mark.parametrize(("headers", "status", "code"), [
    ({}, 401, "unauthorized"),
    ({"Authorization": "Bearer another-key-of-somebody"}, 401, "unauthorized"),
])  # fmt: skip
async def test_only_who_shows_the_key_is_heard(shop: Shop, headers: dict[str, str], status: int, code: str) -> None:
    answer = await shop.say({"item_id": "a", "in_stock": False}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert shop.world.store.hashes == {}


async def test_without_a_key_set_nobody_is_heard(running: Running) -> None:
    transport = httpx.ASGITransport(app=assemble(running.service))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        answer = await http.post(PATH, json={"items": [{"item_id": "a", "in_stock": False}]}, headers=SHOWN)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_off")


@pytest.mark.parametrize("item", [
    {}, {"item_id": "a"}, {"item_id": "", "in_stock": True}, {"item_id": "x" * 257, "in_stock": True},
    {"item_id": "a\n", "in_stock": True}, {"item_id": 5, "in_stock": True}, {"item_id": "a", "in_stock": "yes"},
    {"item_id": "a", "in_stock": 1}, {"item_id": "a", "in_stock": None}, {"item_id": "a", "price": 0},
    {"item_id": "a", "price": -1}, {"item_id": "a", "price": "5"}, {"item_id": "a", "price": True},
    {"item_id": "a", "price": None}, {"item_id": "a", "price": 1e13}, {"item_id": "a", "regions": []},
    {"item_id": "a", "regions": "DE"}, {"item_id": "a", "regions": ["DEU"]}, {"item_id": "a", "regions": ["Ä1"]},
    {"item_id": "a", "regions": ["DE"] * 251}, {"item_id": "a", "colour": "red"}, {"item_id": "a", "reset": "yes"},
    {"item_id": "a", "reset": False}, [], "a", None,
])  # fmt: skip
async def test_a_batch_with_a_bad_item_is_refused_as_a_whole(shop: Shop, item: Any) -> None:
    answer = await shop.say({"item_id": "good", "in_stock": False}, item)
    assert answer.status_code == 422, answer.text
    assert shop.world.store.hashes == {}


@pytest.mark.parametrize(("body", "status"), [
    (b"", 400), (b"{", 400), (b'{"items": [{"item_id": "a", "price": NaN}]}', 400),
    (b'{"items": [{"item_id": "a", "price": 1e999}]}', 400), (b"[]", 422), (b'{"items": []}', 422), (b"{}", 422),
    (b'{"items": [{"item_id": "a", "in_stock": true}], "more": 1}', 422), (b" " * ((1 << 20) + 1), 413),
    (b"[" * 100_000, 400), (b'{"items": [{"item_id": "\xff", "in_stock": true}]}', 400),
])  # fmt: skip
async def test_a_bad_body_is_refused(shop: Shop, body: bytes, status: int) -> None:
    answer = await shop.http.post(PATH, content=body, headers=SHOWN | {"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert shop.world.store.hashes == {}


async def test_an_item_twice_in_a_batch_and_too_many_are_refused(shop: Shop) -> None:
    twice = await shop.say({"item_id": "a", "in_stock": True}, {"item_id": "a", "in_stock": False})
    assert twice.status_code == 422
    many = await shop.say(*({"item_id": f"i{n}", "in_stock": True} for n in range(1001)))
    assert many.status_code == 422
    assert (await shop.say(*({"item_id": f"i{n}", "in_stock": True} for n in range(1000)))).status_code == 200


@pytest.mark.parametrize("failure", [UnavailableError("redis"), LateError("redis")])
async def test_while_redis_is_away_it_says_so(shop: Shop, failure: Exception) -> None:
    shop.world.store.failure = failure
    answer = await shop.say({"item_id": "a", "in_stock": False})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.json()["error"]["code"] == "not_stored"
    shop.world.store.failure = None
    assert (await shop.say({"item_id": "a", "in_stock": False})).json()["position"] == 1


async def test_reset_forgets_all_but_what_is_said_beside_it(shop: Shop) -> None:
    await shop.say({"item_id": "a", "in_stock": False, "price": 5.0}, {"item_id": "b", "is_safe": False})
    assert len(shop.service.withdrawn.keys) == 2
    await shop.say({"item_id": "a", "reset": True, "price": 6.0}, {"item_id": "b", "reset": True})
    assert len(shop.service.withdrawn.keys) == 0
    left = {name: list(values.values()) for name, values in shop.world.store.hashes.items() if values}
    assert left == {state_key("price"): [b"6.0"]}


RUNGS = {"L0": [], "L2": ["recommend"], "L4": ["recommend", "candidates", "user_tower"]}


@pytest.mark.parametrize("rung", RUNGS)
@pytest.mark.parametrize("field", ["in_stock", "is_safe"])
async def test_a_withdrawn_item_is_shown_on_no_rung_and_others_take_its_place(
    shop: Shop, rung: str, field: str
) -> None:
    shop.world.triton.failure = dict.fromkeys(RUNGS[rung], UnavailableError("triton"))
    level, before = await shop.shown(num_items=20, user_id="nobody")
    gone = sorted(before)[:5]
    assert (level, len(before)) == (rung, 20)
    await shop.say(*({"item_id": item_id, field: False} for item_id in gone))
    level, after = await shop.shown(num_items=20, user_id="nobody-else")
    assert (level, len(after)) == (rung, 20)
    assert not set(gone) & after
    await shop.say(*({"item_id": item_id, field: True} for item_id in gone))
    assert await shop.shown(num_items=20, user_id="a-third") == (rung, before)


async def test_an_item_out_of_stock_and_unsafe_needs_both_back(shop: Shop) -> None:
    item = {"item_id": fake_id(1)}
    await shop.say(item | {"in_stock": False, "is_safe": False})
    await shop.say(item | {"in_stock": True})
    assert fake_id(1) not in (await shop.shown())[1]
    await shop.say(item | {"is_safe": True})
    assert fake_id(1) in (await shop.shown(user_id="another"))[1]


async def test_on_the_last_rung_regions_are_those_of_now(shop: Shop) -> None:
    shop.world.triton.failure = dict.fromkeys(RUNGS["L4"], UnavailableError("triton"))
    await shop.say(
        {"item_id": "p0001", "regions": ["DE"]},
        {"item_id": "p0010", "regions": ["DE", "NO"]},  # the list says Norway only, as of every tenth
        {"item_id": "p0020", "regions": None},
    )
    shown = {country: (await shop.shown(country=country, user_id=country))[1] for country in ("DE", "FR", "NO")}
    seen = {item: {c for c, items in shown.items() if item in items} for item in ("p0001", "p0010", "p0020", "p0030")}
    assert seen == {"p0001": {"DE"}, "p0010": {"DE", "NO"}, "p0020": {"DE", "FR", "NO"}, "p0030": {"NO"}}
    await shop.say({"item_id": "p0001", "reset": True}, {"item_id": "p0020", "reset": True})
    german = (await shop.shown(country="DE", user_id="again"))[1]
    assert "p0001" in german
    assert "p0020" not in german


async def test_all_of_them_withdrawn_is_an_empty_answer_not_an_error(shop: Shop) -> None:
    await shop.say(*({"item_id": fake_id(n), "in_stock": False} for n in range(500)))
    body = await shop.recommend()
    assert body["items"] == []
    assert body["degraded"]["coverage"] == 0


async def test_a_restart_while_redis_is_away_still_hides(shop: Shop) -> None:
    await shop.say({"item_id": "p0001", "in_stock": False}, {"item_id": "p0002", "regions": ["NO"]})
    shop.world.store.failure = UnavailableError("redis")
    again = shop.world.service()
    await again.start()
    async with shop.world.client(again) as http:
        shop.world.triton.failure = dict.fromkeys(RUNGS["L4"], UnavailableError("triton"))
        body = await Shop(shop.world, again, http).recommend("nobody", num_items=40, country="DE")
    await again.stop()
    assert not {"p0001", "p0002"} & {item["item_id"] for item in body["items"]}


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff", b'{"in_stock": [1e400]}', orjson.dumps(
    {"in_stock": ["x"], "is_safe": [], "regions": {}, "sequence": 1, "entry": "1-0"}), orjson.dumps(
    {"in_stock": [2**63], "is_safe": [], "regions": {}, "sequence": 1, "entry": "1-0"}), orjson.dumps(
    {"in_stock": [], "is_safe": [], "regions": [], "sequence": 1, "entry": "1-0"})])  # fmt: skip
async def test_a_broken_mirror_is_none(world: World, content: bytes) -> None:
    (world.folder / "withdrawn.json").write_bytes(content)
    service = world.service()
    await service.start()
    assert len(service.withdrawn.keys) == 0
    assert service.withdrawn.contact.age() is not None
    await service.stop()


async def test_an_empty_redis_forgets_nothing(shop: Shop) -> None:
    await shop.say({"item_id": fake_id(1), "in_stock": False})
    store = shop.world.store
    store.hashes.clear()
    store.streams.clear()
    store.values = {TRAFFIC_KEY: store.values[TRAFFIC_KEY]}
    await shop.service.withdrawn.refresh()
    assert shop.service.withdrawn.keys.tolist() == [item_key(fake_id(1))]


async def test_nothing_new_is_one_round_trip_and_keeps_what_is_held(shop: Shop) -> None:
    await shop.say(*({"item_id": fake_id(n), "in_stock": False} for n in range(50)))
    held, trips = shop.service.withdrawn.keys, shop.world.store.round_trips
    assert (np.diff(held) > 0).all()
    trips.clear()
    await shop.service.withdrawn.refresh()
    assert trips.count(["MULTI", "GET", "XREAD", "EXEC"]) == len(trips) == 1
    assert shop.service.withdrawn.keys is held


async def test_it_is_documented(shop: Shop) -> None:
    document = (await shop.http.get("/openapi.json")).json()
    post = document["paths"][PATH]["post"]
    assert set(post["responses"]) == {"200", "400", "401", "403", "408", "413", "415", "422", "503"}
    assert post["security"] == [{"HTTPBearer": []}]
    item = document["components"]["schemas"]["ItemAvailability"]
    assert item["required"] == ["item_id"]
    assert all("default" not in item["properties"][name] for name in ("in_stock", "is_safe", "price", "regions"))


async def test_what_is_followed_is_measured(shop: Shop) -> None:
    await shop.say({"item_id": "a", "in_stock": False}, {"item_id": "b", "regions": ["DE"]})
    metrics = (await shop.http.get("/metrics")).text.splitlines()
    assert {"overlay_position 1.0", "items_withdrawn 1.0", "items_with_regions 1.0"} <= set(metrics)
    assert any(line.startswith("overlay_confirmed_age_seconds 0.") for line in metrics)
    assert (await shop.recommend(KNOWN_USER))["items"]
