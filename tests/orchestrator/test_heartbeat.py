"""What an orchestrator says of itself: the releases it may still call, how each of them does, and when it is gone."""

import asyncio

import pytest

from model_repository.traffic import HEARTBEATS, LATENCY_BOUNDS_S, TRAFFIC_KEY, Arm, Heartbeat, Tally, popular_key
from orchestrator.call import Arrays, Call
from orchestrator.errors import BadAnswerError, UnavailableError
from orchestrator.tallies import TALLIES
from tests.orchestrator.conftest import Running, popular, record, served

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _no_tallies() -> None:
    TALLIES.keep(())


async def beat(running: Running) -> Heartbeat:
    """A heartbeat as Redis holds it."""
    await running.service.pulse.beat()
    values = running.world.store.values
    (key,) = [key for key in values if key.startswith(HEARTBEATS)]
    return Heartbeat.model_validate_json(values[key])


async def tally(running: Running, release: int = 1) -> Tally:
    return (await beat(running)).tallies[release]


async def test_it_names_the_record_and_the_releases_that_users_are_sent_to(running: Running):
    said = await beat(running)
    assert (said.sequence, said.releases) == (1, (1,))
    assert said.instance == running.service.pulse.instance


async def test_a_release_is_named_while_requests_may_still_call_it(running: Running):
    """Listed releases are not in use; the one before is, until its last request has ended."""
    running.world.store.values[TRAFFIC_KEY] = record(served(1), served(2), served(3), sequence=2)
    await running.service.traffic.refresh()
    assert (await beat(running)).releases == (1, 3)
    running.service.traffic._linger_s = 0.0
    assert (await beat(running)).releases == (3,)


async def test_it_goes_out_by_itself_and_ends_with_the_service(running: Running):
    values = running.world.store.values
    async with asyncio.timeout(5):
        while not any(key.startswith(HEARTBEATS) for key in values):
            await asyncio.sleep(0.05)
    await running.service.pulse.end()
    assert not any(key.startswith(HEARTBEATS) for key in values)


async def test_one_that_fails_disturbs_nobody(running: Running):
    for failure in (UnavailableError("x"), BadAnswerError("out of memory")):
        running.world.store.failure = failure
        await running.service.pulse.beat()
    running.world.store.failure = None
    assert (await running.recommend())["degraded"] is None


async def test_answers_and_their_latency_are_counted(running: Running):
    for _ in range(3):
        await running.recommend()
    counted = await tally(running)
    assert (counted.answers, counted.degraded, counted.failed) == (3, 0, 0)
    assert (sum(counted.latency), len(counted.latency)) == (3, len(LATENCY_BOUNDS_S) + 1)


@pytest.mark.parametrize("slot", ["user_tower", "recommend"])
async def test_an_answer_that_the_release_did_not_rank_is_degraded(running: Running, slot: str):
    running.world.triton.failure[slot] = UnavailableError("x")
    await running.recommend()
    assert (await tally(running)).degraded == 1


async def test_an_answer_without_an_item_is_degraded_and_a_short_one_is_not(running: Running):
    running.world.triton.items = 7
    await running.recommend("a")
    assert (await tally(running)).degraded == 0
    running.world.triton.items = 0
    await running.recommend("b")
    assert (await tally(running)).degraded == 1


async def test_what_no_release_can_help_is_not_held_against_one(running: Running):
    """Else a broken canary would hide behind an outage that degrades every answer of the champion as well."""
    await running.recommend("nobody ever saw me")
    running.world.store.failure = UnavailableError("redis")
    answer = await running.recommend()
    running.world.store.failure = None
    assert answer["degraded"]["reasons"] == ["redis_unavailable"]
    assert (await tally(running)).degraded == 0


async def test_an_error_counts_against_the_release_of_the_user(running: Running):
    def crash(call: Call, arrays: Arrays) -> Arrays:
        raise ZeroDivisionError

    running.world.triton.alter = crash
    assert (await running.http.get("/recommend?user_id=a")).status_code == 500
    running.world.triton.failure = {slot: UnavailableError("x") for slot in ("user_tower", "recommend", "candidates")}
    running.service.popular._lists.clear()
    assert (await running.http.get("/recommend?user_id=a")).status_code == 503
    counted = await tally(running)
    assert (counted.answers, counted.failed) == (0, 2)


async def test_each_arm_has_its_own_tally_whatever_answers_in_the_end(running: Running):
    """Popular items of the champion may stand in for the canary's; the canary is what fell short."""
    arms = (Arm(variant="champion", release=1, share=0.5), Arm(variant="canary", release=2, share=0.5))
    running.world.store.values[TRAFFIC_KEY] = record(served(1), served(2, line=2), arms=arms, sequence=2)
    await running.service.traffic.refresh()
    running.world.triton.failure["recommend"] = UnavailableError("x")
    running.world.triton.failure["candidates"] = UnavailableError("x")
    answers = [await running.recommend(str(user)) for user in range(40)]
    assert {answer["model_version"] for answer in answers} == {"1"}
    counted = (await beat(running)).tallies
    canary = sum(answer["variant"] == "canary" for answer in answers)
    assert 0 < canary < 40
    assert (counted[1].degraded, counted[2].degraded) == (40 - canary, canary)


async def test_metrics_carry_the_release_until_it_leaves_the_record(running: Running):
    await running.recommend()
    running.world.store.values[popular_key(2)] = popular(release=2)
    text = (await running.http.get("/metrics")).text
    for series in (
        'release_answers_total{model_version="1",outcome="full"} 1.0',
        'release_answers_total{model_version="1",outcome="degraded"} 0.0',
        'release_answers_total{model_version="1",outcome="failed"} 0.0',
        'release_latency_seconds_bucket{le="0.001",model_version="1"}',
        'release_latency_seconds_count{model_version="1"} 1.0',
        'model_predictions_total{model_version="1"} 1.0',
    ):
        assert series in text
    running.world.store.values[TRAFFIC_KEY] = record(served(2), sequence=2)
    running.service.traffic._linger_s = 0.0
    await running.service.traffic.refresh()
    await beat(running)
    assert 'model_version="1"' not in (await running.http.get("/metrics")).text
