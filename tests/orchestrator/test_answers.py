"""Rung L3: what was kept of the user's last full answer, and when it is not shown."""

import orjson
import pytest

from feature_repo.schema import country_code
from feature_repo.vectors import item_key
from model_repository.traffic import TRAFFIC_KEY
from orchestrator.answers import Kept, answer_key
from orchestrator.errors import UnavailableError
from orchestrator.fakes import fake_id
from tests.orchestrator.conftest import KNOWN_USER, Running, record, served

pytestmark = pytest.mark.anyio
TRITON = ("user_tower", "recommend", "candidates")


def item_ids(answer: dict) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


async def forget_shown(running: Running) -> None:
    """As half an hour later."""
    running.service.users._showed.put(KNOWN_USER, running.service.users._showed.get(KNOWN_USER)[:0])
    running.world.store.lists.clear()


async def answered_before(running: Running, **parameters: object) -> list[str]:
    """Ids of a full answer; then Triton is gone."""
    answer = await running.recommend(**parameters)
    assert answer["degraded"] is None
    await running.service.writer.flush()
    running.world.triton.failure = {slot: UnavailableError("x") for slot in TRITON}
    return item_ids(answer)


async def test_l3_shows_what_would_have_come_next(running: Running):
    first = await answered_before(running)
    answer = await running.recommend()
    assert answer["degraded"]["level"] == "L3"
    assert answer["degraded"]["coverage"] == 1.0
    assert answer["model_version"] == "1"
    assert item_ids(answer) == [fake_id(i) for i in range(20, 40)]
    assert not set(first) & set(item_ids(answer))


async def test_l3_half_an_hour_later_is_the_same_answer(running: Running):
    first = await answered_before(running)
    await forget_shown(running)
    assert item_ids(await running.recommend()) == first


async def test_l3_is_filled_up_with_popular_items(running: Running):
    await answered_before(running)
    answer = await running.recommend(num_items=50)
    assert item_ids(answer)[:20] == [fake_id(i) for i in range(20, 40)]
    assert item_ids(answer)[20] == "p0001"
    assert len(answer["items"]) == 50


async def test_l3_hides_what_is_excluded(running: Running):
    await answered_before(running)
    answer = await running.recommend(exclude=[fake_id(20), fake_id(22)])
    assert item_ids(answer)[:2] == [fake_id(21), fake_id(23)]


async def test_a_list_of_another_country_is_not_shown(running: Running):
    await answered_before(running, country="DE")
    assert (await running.recommend(country="NO"))["degraded"]["level"] == "L4"
    assert (await running.recommend(country="DE"))["degraded"]["level"] == "L3"


async def test_a_list_of_a_release_that_is_gone_is_not_shown(running: Running):
    await answered_before(running)
    kept = orjson.loads(running.world.store.values[answer_key(KNOWN_USER)])
    running.world.store.values[answer_key(KNOWN_USER)] = orjson.dumps(kept | {"release": 7})
    assert (await running.recommend())["degraded"]["level"] == "L4"


@pytest.mark.parametrize("content", [b"", b"\xff", b"{}", b'{"release":1,"country":0,"items":[[7,"x"]]}', b"[1e999]"])
async def test_a_list_that_cannot_be_read_is_not_shown(running: Running, content: bytes):
    await answered_before(running)
    running.world.store.values[answer_key(KNOWN_USER)] = content
    answer = await running.recommend()
    assert answer["degraded"]["level"] == "L4"
    assert "answer_bad_answer" in answer["degraded"]["reasons"]


async def test_an_empty_list_is_filled_up(running: Running):
    await answered_before(running)
    running.world.store.values[answer_key(KNOWN_USER)] = b'{"release":1,"country":0,"items":[]}'
    assert item_ids(await running.recommend())[0] == "p0001"


async def test_without_redis_the_next_rung_answers(running: Running):
    await answered_before(running)
    running.world.store.failure = UnavailableError("x")
    answer = await running.recommend()
    assert answer["degraded"]["level"] == "L4"
    assert "answer_unavailable" in answer["degraded"]["reasons"]


async def test_a_list_is_written_once_in_a_while_and_for_every_release(running: Running):
    async def written() -> bool:
        running.world.store.values.pop(answer_key(KNOWN_USER), None)
        await running.recommend()
        await running.service.writer.flush()
        return answer_key(KNOWN_USER) in running.world.store.values

    assert [await written(), await written()] == [True, False]
    running.world.store.values[TRAFFIC_KEY] = record(served(2), sequence=2)
    await running.service.traffic.refresh()
    assert await written()


async def test_only_ranked_answers_are_kept(running: Running):
    running.world.triton.failure["recommend"] = UnavailableError("x")
    assert (await running.recommend())["degraded"]["level"] == "L2"
    await running.service.writer.flush()
    assert answer_key(KNOWN_USER) not in running.world.store.values


async def test_nothing_is_kept_of_users_that_nobody_knows(running: Running):
    """They are without number."""
    assert (await running.recommend("stranger"))["degraded"] is None
    await running.service.writer.flush()
    assert answer_key("stranger") not in running.world.store.values


def test_a_kept_list_keeps_ids_that_are_not_ascii():
    kept = Kept(release=1, country=country_code("DE"), items=(("žluťoučký", 3.0), ("b", 1.0)))
    assert [raw.decode() for raw in kept.candidates().ids.tolist()] == ["žluťoučký", "b"]


async def test_l3_obeys_regions_that_changed_since(running: Running):
    await answered_before(running)
    await forget_shown(running)
    running.service.popular.limits[item_key(fake_id(0))] = frozenset({country_code("DE")})
    assert fake_id(0) not in item_ids(await running.recommend())
    await forget_shown(running)
    running.service.popular.limits[item_key(fake_id(0))] = frozenset()
    assert fake_id(0) in item_ids(await running.recommend())
