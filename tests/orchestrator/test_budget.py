"""What is pure and counts time or requests: deadline, breaker, admission, gate, LRU."""

import asyncio
import inspect
import random
import time
from collections.abc import AsyncIterator, Callable

import pytest

from orchestrator.breaker import Breaker
from orchestrator.deadline import Deadline
from orchestrator.errors import CrowdedError, LateError, OverloadedError, UnavailableError
from orchestrator.gate import Gate, GatePolicy
from orchestrator.lag import Lag
from orchestrator.limit import Limit
from orchestrator.lru import Lru
from orchestrator.policy import BreakerPolicy, Caps, LagPolicy, Standing
from tests.orchestrator.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_stage_gets_its_cap_while_there_is_time(clock: Clock):
    assert Deadline.after(0.1, clock).allow(0.6) == pytest.approx(0.06)


def test_a_stage_gets_what_is_left_less_the_reserve(clock: Clock):
    deadline = Deadline.after(0.1, clock)
    clock.now += 0.05
    assert deadline.allow(0.6, reserve=0.2) == pytest.approx(0.03)


def test_a_stage_without_time_is_late_before_it_starts(clock: Clock):
    deadline = Deadline.after(0.1, clock)
    clock.now += 0.0995
    with pytest.raises(LateError):
        deadline.allow(0.6)
    clock.now += 5
    assert deadline.left() == 0.0


@pytest.mark.parametrize("value", [0, -0.1, 1.5])
def test_a_cap_is_a_share(value: float):
    with pytest.raises(ValueError, match="cap read"):
        Caps(read=value)


LAG = LagPolicy(
    memory_s=1.0,
    first=Standing(late_s=0.02, patience_s=0.1, rounds=3),
    again=Standing(late_s=0.005, patience_s=0.01, rounds=1),
)


def open_breaker(clock: Clock) -> Breaker:
    breaker = Breaker(BreakerPolicy(failures=3, silent_s=0.3, open_s=1.0), clock, random.Random(1))
    clock.now += 0.4
    for _ in range(3):
        breaker.failed()
    return breaker


def test_the_breaker_opens_after_failures_in_silence(clock: Clock):
    breaker = open_breaker(clock)
    assert breaker.open
    with pytest.raises(UnavailableError):
        breaker.admit()


def test_a_busy_peer_that_answers_some_calls_keeps_it_closed(clock: Clock):
    breaker = Breaker(BreakerPolicy(failures=3, silent_s=0.3), clock)
    for _ in range(20):
        breaker.failed()
        breaker.failed()
        clock.now += 0.1
        breaker.succeeded()
    assert not breaker.open


def test_after_the_pause_one_call_tries_and_closes_it(clock: Clock):
    breaker = open_breaker(clock)
    clock.now += 1.3
    breaker.admit()
    with pytest.raises(UnavailableError):
        breaker.admit()
    breaker.succeeded()
    breaker.admit()
    breaker.admit()


def test_a_failed_try_pauses_again(clock: Clock):
    breaker = open_breaker(clock)
    clock.now += 1.3
    breaker.admit()
    breaker.failed()
    assert breaker.open


def test_admission_is_bounded_and_frees_slots_on_errors():
    limit = Limit(2, Lag(LAG))
    with limit, limit, pytest.raises(OverloadedError), limit:
        pass
    with pytest.raises(KeyError), limit:
        raise KeyError
    assert limit.in_flight == 0


@pytest.mark.anyio
async def test_the_gate_serves_the_queue_in_order():
    gate = Gate(GatePolicy(first=1, least=1))
    await gate.enter(1)
    order: list[int] = []

    async def visit(number: int) -> None:
        await gate.enter(1)
        order.append(number)
        gate.leave(0.001)

    visits = [asyncio.create_task(visit(i)) for i in range(5)]
    await asyncio.sleep(0.01)
    gate.leave(0.001)
    await asyncio.gather(*visits)
    assert order == [0, 1, 2, 3, 4]
    assert gate.inside == 0


@pytest.mark.anyio
async def test_who_waits_too_long_at_the_gate_gives_up():
    gate = Gate(GatePolicy(first=1, least=1))
    await gate.enter(1)
    with pytest.raises(CrowdedError):
        await gate.enter(0.01)
    gate.leave(0.001)
    await gate.enter(0.01)
    assert gate.inside == 1


@pytest.mark.anyio
async def test_a_cancelled_wait_leaks_no_place():
    gate = Gate(GatePolicy(first=1, least=1))
    await gate.enter(1)
    waiting = asyncio.create_task(gate.enter(1))
    await asyncio.sleep(0.01)
    gate.leave(0.001)  # the place is handed over …
    waiting.cancel()  # … to someone who is gone
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert gate.inside == 0


@pytest.mark.anyio
async def test_the_gate_shrinks_once_for_a_slow_batch_and_grows_again(clock: Clock):
    gate = Gate(GatePolicy(slow_s=0.05, first=8, least=2), clock)
    for _ in range(8):
        await gate.enter(1)
    for _ in range(8):
        gate.leave(0.1)
    assert gate.limit == pytest.approx(8 * 0.85)
    for _ in range(200):
        for _ in range(int(gate.limit)):
            await gate.enter(1)
        for _ in range(gate.inside):
            gate.leave(0.01)
    assert gate.limit > 12


@pytest.mark.anyio
async def test_a_slow_moment_far_below_the_limit_does_not_shrink_the_gate(clock: Clock):
    gate = Gate(GatePolicy(slow_s=0.05, first=8, least=2), clock)
    for _ in range(20):
        clock.now += 1
        for _ in range(4):
            await gate.enter(1)
        for _ in range(4):
            gate.leave(0.1)
    assert gate.limit == 8


def test_the_lru_forgets_the_oldest_and_the_expired(clock: Clock):
    kept: Lru[int] = Lru(2, ttl_s=10, clock=clock)
    kept.put("a", 1)
    kept.put("b", 2)
    assert kept.get("a") == 1
    kept.put("c", 3)
    assert kept.get_all(["a", "b", "c"]) == [1, None, 3]
    clock.now += 11
    assert kept.get("a") is None
    assert kept.get_all(["c"]) == [None]


def test_replicas_do_not_try_again_together(clock: Clock):
    pauses = set()
    for seed in range(20):
        breaker = Breaker(BreakerPolicy(failures=1, silent_s=0.0, open_s=1.0), clock, random.Random(seed))
        breaker.failed()
        began, tries = clock.now, 0
        while breaker.open:
            clock.now += 0.01
            tries += 1
        pauses.add(tries)
        clock.now = began
    assert len(pauses) > 10
    assert min(pauses) >= 75
    assert max(pauses) <= 126


@pytest.mark.parametrize("counts_time", [Deadline.after, Breaker, Gate, Lag, Lru])
def test_a_jump_of_the_clock_moves_no_deadline(counts_time: Callable[..., object]):
    assert inspect.signature(counts_time).parameters["clock"].default is time.monotonic


def rounds(lag: Lag, clock: Clock, *seconds: float) -> list[bool]:
    """The loop comes round after so many seconds each time; whether a request just before that is refused."""
    refused = []
    for pause in seconds:
        clock.now += pause
        refused.append(lag.standing)
        lag.tick()
    return refused


@pytest.fixture
async def lag(clock: Clock) -> AsyncIterator[Lag]:
    lag = Lag(LAG, clock)
    lag.start()
    yield lag
    lag.stop()


@pytest.mark.anyio
async def test_a_loop_that_stays_late_refuses(lag: Lag, clock: Clock):
    assert rounds(lag, clock, *[0.03] * 6) == [False, False, False, True, True, True]


@pytest.mark.anyio
async def test_one_long_pause_refuses_nobody(lag: Lag, clock: Clock):
    assert not any(rounds(lag, clock, 0.002, 5.0, 0.002, 0.03, 0.03, 0.002, 0.03, 0.03, 0.03))


@pytest.mark.anyio
async def test_a_queue_that_empties_now_and_then_is_no_overload(lag: Lag, clock: Clock):
    assert not any(rounds(lag, clock, *[0.03, 0.03, 0.03, 0.015] * 10))


@pytest.mark.anyio
async def test_a_queue_that_stood_is_believed_sooner_until_it_is_forgotten(lag: Lag, clock: Clock):
    rounds(lag, clock, *[0.03] * 6)
    assert rounds(lag, clock, 0.004, 0.008, 0.008) == [False, False, True]
    assert not any(rounds(lag, clock, *[0.002] * 600))
    assert rounds(lag, clock, 0.008, 0.008, 0.008) == [False, False, False]


@pytest.mark.anyio
async def test_while_the_queue_stands_nobody_is_admitted(lag: Lag, clock: Clock):
    limit = Limit(2, lag)
    rounds(lag, clock, *[0.03] * 6)
    clock.now += 0.03
    with pytest.raises(OverloadedError), limit:
        pass
    assert limit.in_flight == 0


def test_before_its_start_nothing_stands():
    assert not Lag(LAG).standing
