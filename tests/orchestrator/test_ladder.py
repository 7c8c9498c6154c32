"""Every rung as a normal path: what answers when something is down, late or wrong, and that it does so in time."""

import asyncio
import time
from collections.abc import Callable

import numpy as np
import pytest

from feature_repo.vectors import item_key
from model_repository.traffic import TRAFFIC_KEY, popular_key
from orchestrator.call import Arrays, Call
from orchestrator.errors import BadAnswerError, StageError, UnavailableError, UnknownModelError
from orchestrator.fakes import fake_id
from orchestrator.policy import Policy
from tests.orchestrator.conftest import Running, World, history, patient, popular, record, served, user_row

pytestmark = pytest.mark.anyio
SLOW = 60.0  # seconds, far beyond the deadline
BUSY_S = 20.0  # what a busy machine may add to a deadline


@pytest.fixture
def policy() -> Policy:
    """Short enough to be late, long enough for a busy machine."""
    return patient(0.3)


def level(answer: dict) -> str:
    return answer["degraded"]["level"] if answer["degraded"] else "L0"


async def timed(running: Running, **parameters: object) -> dict:
    """The answer, which must have come inside the deadline (with room for a busy machine)."""
    began = time.monotonic()
    answer = await running.recommend(**parameters)
    assert time.monotonic() - began < running.service.policy.deadline_s + BUSY_S
    assert len(answer["items"]) == parameters.get("num_items", 20)
    return answer


async def test_l0_the_full_path(running: Running):
    answer = await timed(running)
    assert answer["degraded"] is None
    assert answer["items"][0]["scores"] == {"relevance": 1.0, "ctr": 0.5, "cvr": 0.25}
    assert running.world.triton.calls == [("user_tower", 1), ("recommend_1", 1)]


async def test_l1_redis_refuses_a_user_never_seen_is_ranked_with_defaults(running: Running):
    running.world.store.failure = UnavailableError("redis")
    answer = await timed(running, user_id="stranger")
    assert answer["degraded"] == {"level": "L1", "reasons": ["redis_unavailable"], "coverage": 1.0}
    assert running.world.triton.calls[-1] == ("recommend_1", 1)


async def test_l1_redis_is_late(running: Running):
    running.world.store.delay_s = SLOW
    answer = await timed(running)
    assert level(answer) == "L1"
    assert "redis_late" in answer["degraded"]["reasons"]


async def test_l1_a_user_seen_before_keeps_row_and_embedding(running: Running):
    await running.recommend()
    running.world.store.failure = UnavailableError("redis")
    running.world.triton.calls.clear()
    answer = await timed(running)
    assert level(answer) == "L1"
    assert running.world.triton.calls == [("recommend_1", 1)]
    row, entries, *_ = running.world.triton.inputs[-1]
    np.testing.assert_array_equal(row, user_row())
    np.testing.assert_array_equal(entries, history())


async def test_l2_the_ranker_is_late(running: Running):
    running.world.triton.delay_s["recommend"] = SLOW
    answer = await timed(running)
    assert answer["degraded"] == {"level": "L2", "reasons": ["recommend_late"], "coverage": 1.0}
    assert [item["item_id"] for item in answer["items"]] == [fake_id(i) for i in range(20)]
    assert "scores" not in answer["items"][0]


@pytest.mark.parametrize("failure", [UnavailableError("x"), BadAnswerError("x")])
async def test_l2_the_ranker_fails(running: Running, failure: StageError):
    running.world.triton.failure["recommend"] = failure
    answer = await timed(running)
    assert answer["degraded"]["reasons"] == [f"recommend_{failure.reason}"]
    assert level(answer) == "L2"


async def test_reading_the_record_again_takes_its_share_of_the_deadline_only(running: Running):
    """Redis hangs in the very moment a release is retired: the direct call of L2 still has its time."""
    fake, plain = running.world.triton, running.world.triton.infer

    async def infer(call: Call, inputs: list[np.ndarray], timeout_s: float) -> Arrays:
        if call.slot == "recommend":
            running.world.store.delay_s = 60.0
            raise UnknownModelError("recommend_1")
        return await plain(call, inputs, timeout_s)

    fake.infer = infer  # type: ignore[method-assign]
    answer = await timed(running)
    assert answer["degraded"]["level"] == "L2"
    assert answer["degraded"]["reasons"] == ["recommend_unknown_model"]


async def test_a_slow_ranker_is_not_waited_for_for_ever(running: Running):
    running.world.triton.delay_s["recommend"] = SLOW
    await asyncio.sleep(running.service.policy.breaker.silent_s)
    for _ in range(running.service.policy.breaker.failures):
        await running.recommend()
    running.world.triton.calls.clear()
    answer = await timed(running)
    assert answer["degraded"]["reasons"] == ["recommend_unavailable"]
    assert ("recommend_1", 1) not in running.world.triton.calls


@pytest.mark.parametrize("slots", [("candidates", "recommend"), ("user_tower",)])
@pytest.mark.parametrize("late", [True, False])
async def test_l4_retrieval_fails(running: Running, slots: tuple[str, ...], late: bool):
    for slot in slots:
        if late:
            running.world.triton.delay_s[slot] = SLOW
        else:
            running.world.triton.failure[slot] = UnavailableError("x")
    answer = await timed(running)
    assert level(answer) == "L4"
    assert answer["items"][0]["item_id"] == "p0001"  # the first is sold in Norway only
    assert answer["items"][0]["metadata"] == {"title": "popular 1"}
    assert answer["model_version"] == "1"


async def test_l4_knows_the_region_and_the_exclusions(running: Running):
    running.world.triton.failure = {slot: UnavailableError("x") for slot in ("user_tower", "recommend", "candidates")}
    answer = await timed(running, country="NO", exclude="p0001")
    assert [item["item_id"] for item in answer["items"]][:2] == ["p0000", "p0002"]


async def test_l4_uses_no_network(running: Running):
    running.world.triton.failure["user_tower"] = UnavailableError("x")
    running.world.store.failure = UnavailableError("x")
    assert level(await timed(running)) == "L4"


async def test_l4_partial_when_too_few_are_popular(running: Running):
    running.world.triton.failure["user_tower"] = UnavailableError("x")
    answer = await running.recommend(num_items=100)
    assert len(answer["items"]) == 45
    assert answer["degraded"]["coverage"] == 0.45
    assert "few_candidates" in answer["degraded"]["reasons"]


async def test_nothing_stands_is_a_503_with_retry_after(world: World):
    world.store.failure = UnavailableError("x")
    service = world.service()
    await service.start()
    async with world.client(service) as http:
        answer = await http.get("/recommend?user_id=a")
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "2"
        assert answer.json()["error"]["code"] == "unavailable"
    await service.stop()


async def test_a_restart_while_redis_is_away_uses_the_mirrors(world: World):
    first = world.service()
    await first.start()
    await first.stop()
    world.store.failure = UnavailableError("x")
    second = world.service()
    await second.start()
    async with world.client(second) as http:
        assert (await http.get("/recommend?user_id=a")).json()["degraded"]["level"] == "L1"
        world.triton.failure = {slot: UnavailableError("x") for slot in ("recommend", "candidates")}
        answer = (await http.get("/recommend?user_id=b")).json()
        assert (answer["degraded"]["level"], len(answer["items"])) == ("L4", 20)
    await second.stop()


def altered(change: Callable[[Arrays], None], slot: str = "recommend") -> Callable[[Call, Arrays], Arrays]:
    def alter(call: Call, arrays: Arrays) -> Arrays:
        if call.slot == slot:
            change(arrays)
        return arrays

    return alter


async def test_scores_that_are_not_finite_rank_last(running: Running):
    def spoil(arrays: Arrays) -> None:
        arrays["scores"][:490] = np.nan

    running.world.triton.alter = altered(spoil)
    answer = await running.recommend(num_items=20)
    assert [item["item_id"] for item in answer["items"][:10]] == [fake_id(i) for i in range(490, 500)]
    assert all(item["score"] is None for item in answer["items"][10:])


async def test_an_embedding_that_is_not_finite_is_not_searched_with(running: Running):
    running.world.triton.alter = altered(lambda arrays: arrays["user_embedding"].fill(np.nan), "user_tower")
    answer = await running.recommend()
    assert answer["degraded"]["reasons"] == ["embed_bad_answer"]


async def test_no_candidates_at_all_is_an_empty_answer(running: Running):
    running.world.triton.items = 0
    answer = await running.recommend()
    assert answer["items"] == []
    assert answer["degraded"] == {"level": "L0", "reasons": ["few_candidates"], "coverage": 0.0}


async def test_fewer_candidates_than_asked_for_is_partial(running: Running):
    running.world.triton.items = 7
    answer = await running.recommend(num_items=10)
    assert (len(answer["items"]), answer["degraded"]["coverage"]) == (7, 0.7)


async def test_an_unknown_model_reads_the_record_again_and_retries_once(running: Running):
    running.world.triton.failure["recommend"] = UnknownModelError("recommend_1")
    running.world.store.values[TRAFFIC_KEY] = record(served(1), served(2), sequence=2)

    fake = running.world.triton
    plain = fake.infer

    async def infer(call: Call, inputs: list[np.ndarray], timeout_s: float) -> Arrays:
        if call.name == "recommend_2":
            fake.failure.clear()
        return await plain(call, inputs, timeout_s)

    fake.infer = infer  # type: ignore[method-assign]
    answer = await running.recommend()
    assert answer["degraded"] is None
    assert answer["model_version"] == "2"
    assert [name for name, _ in fake.calls] == ["user_tower", "recommend_1", "recommend_2"]


async def test_another_tower_never_sees_the_old_embedding(running: Running):
    await running.recommend()
    await running.service.writer.flush()
    running.world.triton.failure["recommend"] = UnknownModelError("recommend_1")
    running.world.store.values[TRAFFIC_KEY] = record(served(2, line=2, digest="other"), sequence=2)
    running.world.triton.calls.clear()
    await running.recommend()
    assert running.world.triton.calls[:3] == [("recommend_1", 1), ("user_tower", 2), ("recommend_2", 1)]


async def test_a_model_that_stays_unknown_degrades(running: Running):
    running.world.triton.failure["recommend"] = UnknownModelError("recommend_1")
    answer = await running.recommend()
    assert answer["degraded"]["reasons"] == ["recommend_unknown_model"]
    assert [name for name, _ in running.world.triton.calls] == [
        "user_tower",
        "recommend_1",
        "recommend_1",
        "candidates",
    ]


async def test_withheld_and_shown_items_never_come_on_any_rung(running: Running):
    hidden = [fake_id(i) for i in range(0, 10, 2)]
    for failing in ((), ("recommend",)):
        running.world.triton.failure = {slot: UnavailableError("x") for slot in failing}
        answer = await running.recommend(user_id=f"u{len(failing)}", exclude=hidden)
        assert not set(hidden) & {item["item_id"] for item in answer["items"]}
        assert len(answer["items"]) == 20


async def test_a_new_popular_list_replaces_the_old_one(running: Running):
    running.world.store.values[TRAFFIC_KEY] = record(served(2), sequence=2)
    running.world.store.values[popular_key(2)] = popular(release=2, items=30)
    await asyncio.sleep(2.2 * running.service.policy.traffic_every_s)
    assert running.service.popular.best(2).release == 2
    assert not (running.world.folder / "popular-1.json").exists()
    assert item_key("p0000") in running.service.popular.best(None).candidates.keys
