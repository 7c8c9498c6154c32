"""One computation at a time for a key, and what becomes of those who wait."""

import asyncio

import pytest

from orchestrator.errors import LateError, UnavailableError
from orchestrator.single_flight import SingleFlight
from tests.orchestrator.conftest import Running

pytestmark = pytest.mark.anyio


class Slow:
    """Counts how often it computes; ends when told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.began = 0
        self.may_end = asyncio.Event()
        self.error = error

    async def __call__(self) -> int:
        self.began += 1
        await self.may_end.wait()
        if self.error is not None:
            raise self.error
        return 7


async def asked(flights: SingleFlight[int], work: Slow, times: int, timeout_s: float = 5.0) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(flights.get("key", work, timeout_s)) for _ in range(times)]
    await asyncio.sleep(0.01)
    return tasks


async def test_everybody_gets_the_one_value():
    flights, work = SingleFlight[int](), Slow()
    tasks = await asked(flights, work, 5)
    work.may_end.set()
    assert await asyncio.gather(*tasks) == [7] * 5
    assert work.began == 1


async def test_the_next_one_computes_again_and_other_keys_are_apart():
    flights, work = SingleFlight[int](), Slow()
    work.may_end.set()
    await flights.get("key", work, 5.0)
    await flights.get("key", work, 5.0)
    await asyncio.gather(flights.get("a", work, 5.0), flights.get("b", work, 5.0))
    assert work.began == 4


async def test_a_failure_is_everybodys():
    flights, work = SingleFlight[int](), Slow(UnavailableError("away"))
    tasks = await asked(flights, work, 3)
    work.may_end.set()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in ended] == [UnavailableError] * 3


async def test_who_waits_has_a_time_of_his_own_and_harms_nobody():
    flights, work = SingleFlight[int](), Slow()
    (first,) = await asked(flights, work, 1)
    with pytest.raises(LateError):
        await flights.get("key", work, 0.01)
    work.may_end.set()
    assert await first == 7


async def test_when_the_first_one_is_cancelled_the_others_are_late_and_the_key_is_free():
    flights, work = SingleFlight[int](), Slow()
    first, second = await asked(flights, work, 2)
    first.cancel()
    with pytest.raises(LateError):
        await second
    work.may_end.set()
    assert await flights.get("key", work, 5.0) == 7


async def test_a_crowd_of_one_user_asks_the_tower_once(running: Running):
    running.world.triton.delay_s["user_tower"] = 0.05
    answers = await asyncio.gather(*(running.recommend() for _ in range(8)))
    assert all(answer["degraded"] is None for answer in answers)
    assert sum(name == "user_tower" for name, _ in running.world.triton.calls) == 1
