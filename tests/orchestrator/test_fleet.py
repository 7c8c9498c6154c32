"""Which server a call goes to: those that have its release, past the ones that are broken, to the end of their use."""

from collections.abc import Iterable

import numpy as np
import pytest

from model_repository import contract
from model_repository.traffic import ServedModel
from orchestrator.call import Call
from orchestrator.errors import LateError, UnavailableError, UnknownModelError
from orchestrator.fakes import FakeInference
from orchestrator.fleet import Fleet
from orchestrator.policy import BreakerPolicy

pytestmark = pytest.mark.anyio
IMPATIENT = BreakerPolicy(failures=2, silent_s=0.0, open_s=60.0)
BLUE, GREEN = "blue:1", "green:1"
ROW = np.zeros(contract.USER_FEATURES.shape, np.float32)


def tower(version: int, *targets: str) -> Call:
    return Call(contract.USER_TOWER, ("user_tower", version), contract.USER_TOWER.outputs, targets)


class World:
    """A fleet and the fakes behind its endpoints."""

    def __init__(self, endpoints: Iterable[str]) -> None:
        self.servers = {target: FakeInference() for target in endpoints}
        self.fleet = Fleet(lambda target: self.servers[target], IMPATIENT)
        self.fleet.open(self.servers)

    async def calls(self, call: Call, times: int = 4) -> dict[str, int]:
        """Send a call several times; how many each server has got since the start."""
        for _ in range(times):
            await self.fleet.infer(call, [ROW], 1.0)
        return {target: len(server.calls) for target, server in self.servers.items()}


@pytest.fixture
def world() -> World:
    return World([BLUE, GREEN])


async def test_a_call_goes_round_the_servers_of_its_release_only(world: World):
    assert await world.calls(tower(1, BLUE)) == {BLUE: 4, GREEN: 0}
    assert await world.calls(tower(2, GREEN)) == {BLUE: 4, GREEN: 4}
    assert await world.calls(tower(3, BLUE, GREEN)) == {BLUE: 6, GREEN: 6}


async def test_a_release_whose_servers_are_unknown_is_unavailable(world: World):
    with pytest.raises(UnavailableError):
        await world.fleet.infer(tower(1, "red:1"), [ROW], 1.0)


async def test_a_server_that_lacks_the_model_is_passed_over(world: World):
    both = tower(1, BLUE, GREEN)
    world.servers[GREEN].failure["user_tower"] = UnknownModelError("x")
    failed = 0
    for _ in range(20):
        try:
            await world.fleet.infer(both, [ROW], 1.0)
        except UnknownModelError:
            failed += 1
    assert failed == IMPATIENT.failures
    assert len(world.servers[BLUE].calls) == 20 - failed


async def test_a_broken_canary_leaves_the_champion_alone(world: World):
    """Both on one server: the canary's open breaker must not refuse the champion's calls."""
    champion, canary = tower(1, BLUE), tower(2, BLUE)
    world.servers[BLUE].failure["user_tower"] = LateError("x")
    for _ in range(IMPATIENT.failures):
        with pytest.raises(LateError):
            await world.fleet.infer(canary, [ROW], 1.0)
    with pytest.raises(UnavailableError):
        await world.fleet.infer(canary, [ROW], 1.0)
    world.servers[BLUE].failure.clear()
    await world.fleet.infer(champion, [ROW], 1.0)


async def test_connections_are_closed_when_nobody_needs_them(world: World):
    await world.fleet.keep({BLUE})
    assert (world.servers[BLUE].closed, world.servers[GREEN].closed) == (False, True)
    assert await world.calls(tower(3, BLUE, GREEN)) == {BLUE: 4, GREEN: 0}


async def test_every_server_is_asked_whether_it_is_ready(world: World):
    model: ServedModel = ("recommend_1", 1)
    assert await world.fleet.lacking(model, (BLUE, GREEN), 1.0) == []
    world.servers[GREEN].not_ready = {"recommend_1"}
    assert await world.fleet.lacking(model, (BLUE, GREEN, "red:1"), 1.0) == [GREEN, "red:1"]
