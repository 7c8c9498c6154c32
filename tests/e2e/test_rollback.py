"""Three real orchestrators on one real Redis, one of them behind a line that can be cut. Triton is away: each answers
popular items, and names the release whose they are, so what a rollback does is seen without any model.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

from deploy.local.readiness import http_status
from deploy.local.runtime.api_server import READY_PATH, ApiServer
from exporters.rollout import listed, promoted, rolled_back
from exporters.traffic import TrafficStore
from model_repository.traffic import HEARTBEAT_EVERY_S, Popular, ServedRelease, Traffic
from perf.drill.proxy import TcpProxy, tcp_proxy
from tests.orchestrator.conftest import popular, served
from tests.ports import free_port, isolated_settings
from tests.redis_server import redis_server

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]
PATIENCE_S = 20.0  # a second is what it should take: the drill `rolled-back` measures that, where nothing else runs
POLL_S = 0.01
USERS = itertools.count()


class WithoutTriton(ApiServer):
    """It is up when it says why it is not ready."""

    def ready(self) -> bool:
        return http_status(self.settings.host, self.settings.api_port, READY_PATH) in (200, 503)


@dataclass(frozen=True, slots=True)
class Orchestrator:
    """One process and a client of it."""

    server: WithoutTriton
    http: httpx.Client

    def release(self) -> str:
        """Which release answers now; every answer must be one. A new user each time: what was shown stays away."""
        answer = self.http.get("/recommend", params={"user_id": f"user{next(USERS)}"})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["items"]) == 20
        return str(answer.json()["model_version"])

    def wait_for(self, release: int) -> None:
        """Ask until it answers with the release."""
        ends = time.monotonic() + PATIENCE_S
        while (answers := self.release()) != str(release):
            assert time.monotonic() < ends, f"{self.server.url} still answers with {answers}"
            time.sleep(POLL_S)

    def traffic(self) -> dict[str, float]:
        """What it says of the record it follows."""
        return dict(self.http.get(READY_PATH).json()["traffic"])

    def said(self, event: str) -> list[dict[str, object]]:
        """Log lines of an event."""
        lines = [orjson.loads(line) for line in self.server.log.read_bytes().splitlines() if line.startswith(b"{")]
        return [line for line in lines if line["event"] == event]


@dataclass(frozen=True, slots=True)
class World:
    """`fleet[-1]` reaches Redis through `line`."""

    store: TrafficStore
    fleet: tuple[Orchestrator, ...]
    line: TcpProxy

    def change(self, step: Callable[[Traffic], Traffic]) -> None:
        """Change the record."""
        self.store.change(lambda _: step(self.store.require()))

    def all_on(self, release: int, fleet: tuple[Orchestrator, ...] = ()) -> None:
        """Wait until the last of the fleet answers with the release; all are asked at the same time."""
        asked = fleet or self.fleet
        with ThreadPoolExecutor(len(asked)) as pool:
            list(pool.map(lambda each: each.wait_for(release), asked))


def one(number: int) -> ServedRelease:
    nowhere = f"127.0.0.1:{free_port()}"
    return served(number, line=number, digest=f"tower{number}").model_copy(update={"triton": (nowhere,)})


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Started once; each orchestrator has a folder of its own, as on a machine of its own."""
    home = tmp_path_factory.mktemp("rollback")
    with ExitStack() as open_:
        redis = open_.enter_context(redis_server())
        line = open_.enter_context(tcp_proxy(redis))
        store = _published(home / "exporters", redis)
        ports = {"first": redis, "second": redis, "third": line.port}
        servers = [WithoutTriton(isolated_settings(home / name, redis_port=port)) for name, port in ports.items()]
        for server in servers:
            open_.callback(server.stop)
        with ThreadPoolExecutor() as pool:
            list(pool.map(WithoutTriton.start, servers))
        clients = [open_.enter_context(httpx.Client(base_url=server.url, timeout=5.0)) for server in servers]
        yield World(store, tuple(map(Orchestrator, servers, clients)), line)


def _published(home: Path, redis_port: int) -> TrafficStore:
    settings = isolated_settings(home, redis_port=redis_port)
    settings.workspace.mkdir(parents=True)
    store = TrafficStore(settings)
    for number in (1, 2):
        store.write_popular(Popular.model_validate_json(popular(number)))
        store.change(lambda before, number=number: listed(before, one(number)))  # type: ignore[misc]
    return store


@pytest.fixture
def world(stack: World) -> World:
    """All on release 2, which was promoted after release 1."""
    stack.line.allow()
    if stack.store.require().carried != {2}:
        stack.change(lambda before: promoted(before, 2))
    stack.all_on(2)
    return stack


def test_a_rollback_takes_effect_on_three_orchestrators(world: World) -> None:
    for _ in range(3):
        world.change(rolled_back)
        world.all_on(1)
        world.change(lambda before: promoted(before, 2))
        world.all_on(2)


@pytest.mark.parametrize("cut", [TcpProxy.refuse, TcpProxy.swallow], ids=["refuses", "swallows"])
def test_one_whose_redis_is_away_keeps_the_last_record_and_follows_later(
    world: World, cut: Callable[[TcpProxy], None]
) -> None:
    *others, lonely = world.fleet
    sequence, ends = lonely.traffic()["sequence"], len(lonely.said("traffic_confirmed_again"))
    cut(world.line)
    world.change(rolled_back)
    world.all_on(1, tuple(others))
    _wait_until(lambda: lonely.traffic()["confirmed_seconds_ago"] > 2.0)
    assert (lonely.release(), lonely.traffic()["sequence"]) == ("2", sequence)
    _wait_until(lambda: len(lonely.said("traffic_unconfirmed")) > ends)
    assert len(lonely.said("traffic_unconfirmed")) == ends + 1
    world.line.allow()
    world.all_on(1, (lonely,))
    _wait_until(lambda: len(lonely.said("traffic_confirmed_again")) == ends + 1)
    last = lonely.said("traffic_confirmed_again")[-1]
    assert last["changed"]
    assert float(str(last["after_s"])) > 1.0


def test_each_says_which_releases_it_may_call_and_how_they_do(world: World) -> None:
    def answers() -> int:
        return sum(beat.tallies[2].answers for beat in world.store.heartbeats() if 2 in beat.tallies)

    _wait_until(lambda: [beat.releases for beat in world.store.heartbeats()] == [(2,)] * 3)
    time.sleep(2 * HEARTBEAT_EVERY_S)
    before = answers()
    assert [each.release() for each in world.fleet] == ["2"] * 3
    _wait_until(lambda: answers() == before + 3)


def test_a_restart_without_redis_serves_the_mirrored_record(world: World) -> None:
    lonely = world.fleet[-1]
    lonely.server.stop()
    assert len(world.store.heartbeats()) == 2
    world.line.refuse()
    world.change(rolled_back)
    lonely.server.start()
    assert lonely.release() == "2"
    assert lonely.traffic()["confirmed_seconds_ago"] is None
    world.line.allow()
    world.all_on(1)


def _wait_until(holds: Callable[[], bool], seconds: float = PATIENCE_S) -> None:
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, "it did not come true in time"
        time.sleep(0.05)
