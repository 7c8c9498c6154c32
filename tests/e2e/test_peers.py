"""The peers that Trident is compared with answer like it: the same items in the same order, the same scores."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import redis

from deploy.local.processes.ports import listeners
from deploy.local.serve import Platform
from deploy.settings import Settings
from orchestrator.stored import shown_key
from perf.compare.servers import free_port
from perf.peers import MONOLITH, MONOLITH_LIGHTGBM, NAIVE
from perf.peers.feast_items import open_items, write_items
from perf.peers.models import Release
from perf.peers.server import PeerServer
from perf.peers.subset import Subset
from perf.users import user_id, write_users

pytestmark = [pytest.mark.e2e, pytest.mark.spark, pytest.mark.timeout(900)]
Json = dict[str, Any]
TOP = 20


@pytest.fixture(scope="module")
def filled(settings: Settings, stack: Platform) -> Settings:
    """Feast holds the items the naive peer ranks; there are users whom nobody was shown anything yet."""
    write_users(settings, 60)
    items = Subset.of(Release.newest(settings).folder)
    write_items(open_items(settings), settings, items.ids, items.features)
    return settings


@pytest.fixture(params=[MONOLITH, MONOLITH_LIGHTGBM, NAIVE])
def peer(request: pytest.FixtureRequest, filled: Settings) -> Iterator[PeerServer]:
    with PeerServer(filled, request.param, free_port(filled.host)) as server:
        yield server


def ask_afresh(settings: Settings, url: str, user: str) -> Json:
    """An answer to somebody who was shown nothing yet, as far as Redis knows."""
    with redis.Redis.from_url(settings.redis_url) as store:
        store.delete(shown_key(user))
        answer = httpx.get(f"{url}/recommend", params={"user_id": user, "num_items": TOP}, timeout=30.0)
        assert answer.status_code == 200, answer.text
        time.sleep(0.3)  # what was shown is written after the answer
        assert store.llen(shown_key(user)) == TOP
    body: Json = answer.json()
    return body


def within_a_minute(work: Callable[[], list[Json]]) -> list[Json]:
    """The context says which minute it is, and scores follow it."""
    while True:
        minute = time.time() // 60
        answers = work()
        if time.time() // 60 == minute:
            return answers


def test_a_peer_answers_like_trident(peer: PeerServer, stack: Platform, settings: Settings) -> None:
    first = {MONOLITH: 0, MONOLITH_LIGHTGBM: 20, NAIVE: 40}[peer.name]
    urls, numbers = (stack.url, peer.url), iter(range(first, first + 20))

    def pair() -> list[Json]:
        user = user_id(next(numbers))  # each server remembers for itself whom it showed what
        return [ask_afresh(settings, url, user) for url in urls]

    for _ in range(3):
        trident, other = within_a_minute(pair)
        assert trident["degraded"] is None
        assert other.keys() == trident.keys()
        same_items(trident["items"], other["items"], whole=peer.name != NAIVE)


def same_items(ours: list[Json], theirs: list[Json], whole: bool) -> None:
    """The same list; of a peer with an index of its own most of the same, and each the same where it is shown."""
    known = {item["item_id"]: item for item in ours}
    assert len(theirs) == TOP
    assert [item["rank"] for item in theirs] == list(range(1, TOP + 1))
    shared = [item for item in theirs if item["item_id"] in known]
    assert len(shared) >= 0.7 * TOP
    for item in shared:
        mine = known[item["item_id"]]
        assert item["metadata"] == mine["metadata"]
        assert item["scores"] == pytest.approx(mine["scores"], abs=2e-6)  # both are rounded to six digits
        assert item["score"] == pytest.approx(mine["score"], abs=2e-6)
    if whole:
        assert [item["item_id"] for item in theirs] == list(known)


def test_a_peer_uses_every_core_and_leaves_nothing(filled: Settings) -> None:
    with PeerServer(filled, MONOLITH, free_port(filled.host)) as server:
        assert len(listeners(server.settings.api_port)) == len(os.sched_getaffinity(0))
    assert not listeners(server.settings.api_port)
