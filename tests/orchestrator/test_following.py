"""A service while the record changes under it: at once, whatever is slow; no request lost, no embedding mixed up."""

import asyncio

import numpy as np
import pytest

from model_repository.traffic import TRAFFIC_KEY, Arm
from orchestrator.errors import UnavailableError
from orchestrator.fakes import FakeInference
from orchestrator.policy import Policy
from tests.orchestrator.conftest import Running, patient, record, served, user_row

pytestmark = pytest.mark.anyio
SLOW_S = 60.0  # no test waits for it
ARMS = (Arm(variant="champion", release=1, share=0.5), Arm(variant="canary", release=2, share=0.5))


@pytest.fixture
def policy() -> Policy:
    """Far longer than anything here takes but what is made slow."""
    return patient(2 * SLOW_S)


async def put(running: Running, content: bytes) -> None:
    """Write a record and let the follower read it."""
    running.world.store.values[TRAFFIC_KEY] = content
    await running.service.traffic.refresh()


async def follow(running: Running, content: bytes, sequence: int) -> None:
    """Write a record and wait until it is followed, long before anything slow is done."""
    running.world.store.values[TRAFFIC_KEY] = content
    async with asyncio.timeout(SLOW_S / 3):
        while running.service.traffic.plan.record.sequence != sequence:
            await asyncio.sleep(0.01)


async def test_a_slow_warm_up_delays_no_change(running: Running):
    running.world.triton.delay_s["user_tower"] = SLOW_S
    await follow(running, record(served(1), served(2, line=2), sequence=2), 2)
    async with asyncio.timeout(SLOW_S / 3):
        while ("user_tower", 2) not in running.world.triton.calls:
            await asyncio.sleep(0.01)
    await follow(running, record(served(1), served(2, line=2), arms=ARMS, sequence=3), 3)
    await follow(running, record(served(2, line=2), served(1), sequence=4), 4)


async def test_only_what_is_new_is_warmed(running: Running):
    await put(running, record(served(1), served(2), sequence=2))
    await running.service._settle()
    assert {name for name, _ in running.world.triton.calls if name.startswith("recommend")} == {"recommend_2"}


async def test_users_keep_their_arm_while_redis_is_away(running: Running):
    await put(running, record(served(1), served(2), arms=ARMS, sequence=2))
    users = [str(user) for user in range(30)]
    before = [(await running.recommend(user))["variant"] for user in users]
    running.world.store.failure = UnavailableError("redis")
    assert [(await running.recommend(user))["variant"] for user in users] == before
    assert len(set(before)) == 2


async def test_another_tower_gets_the_users_row_but_not_the_old_embedding_from_memory(running: Running):
    """Redis goes away right after a swap to another line: what this process remembers is the old tower's."""
    await running.recommend()
    await put(running, record(served(2, line=2, digest="other"), sequence=2))
    running.world.store.failure = UnavailableError("redis")
    running.world.triton.calls.clear()
    await running.recommend()
    assert running.world.triton.calls == [("user_tower", 2), ("recommend_2", 1)]
    np.testing.assert_array_equal(running.world.triton.inputs[-1][0], user_row())


async def test_the_old_embedding_in_redis_is_not_the_new_towers(running: Running):
    await running.recommend()
    await running.service.writer.flush()
    await put(running, record(served(2, line=2, digest="other"), sequence=2))
    running.world.triton.calls.clear()
    await running.recommend()
    assert running.world.triton.calls == [("user_tower", 2), ("recommend_2", 1)]


@pytest.mark.parametrize("redis", ["up", "away"])
async def test_a_newer_generation_of_the_same_tower_keeps_the_embeddings(running: Running, redis: str):
    await running.recommend()
    await running.service.writer.flush()
    await put(running, record(served(2), sequence=2))
    running.world.store.failure = None if redis == "up" else UnavailableError("redis")
    running.world.triton.calls.clear()
    assert (await running.recommend())["model_version"] == "2"
    assert running.world.triton.calls == [("recommend_2", 1)]


async def test_a_request_under_way_ends_with_the_release_it_began_with(running: Running):
    running.world.triton.delay_s["user_tower"] = 0.3
    request = asyncio.create_task(running.recommend())
    await asyncio.sleep(0.1)
    moved = served(2, line=2, digest="other").model_copy(update={"triton": ("green:1",)})
    await put(running, record(moved, sequence=2))
    await running.service._settle()
    answer = await request  # its next call goes to a server that the record does not name any more
    assert (answer["model_version"], answer["degraded"]) == ("1", None)
    assert (await running.recommend())["model_version"] == "2"


async def test_readiness_says_which_server_lacks_a_model_that_another_has(running: Running):
    await put(running, record(served(1).model_copy(update={"triton": ("fake:1", "fake:2")}), sequence=2))
    second = running.service.fleet._members["fake:2"]
    answer = (await running.http.get("/readyz")).json()
    assert (answer["status"], answer["lacking"], answer["traffic"]["sequence"]) == ("ready", [], 2)
    assert answer["traffic"]["confirmed_seconds_ago"] < 5.0
    second.client = FakeInference(not_ready={"recommend_1"})
    answer = (await running.http.get("/readyz")).json()
    assert (answer["status"], answer["lacking"]) == ("ready", ["fake:2 lacks recommend_1/1"])


async def test_the_metrics_say_which_record_and_how_sure(running: Running):
    await put(running, record(served(1), sequence=41))
    text = (await running.http.get("/metrics")).text
    assert "traffic_sequence 41.0" in text
    (age,) = [line for line in text.splitlines() if line.startswith("traffic_confirmed_age_seconds ")]
    assert float(age.split()[1]) < 5.0
