"""A bad canary is rolled back with the reason; what was counted is of this canary, and survives restarts."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.settings import Settings
from exporters.errors import ServerError
from exporters.guard.controller import LOG, guard
from exporters.guard.judge import Guardrails
from exporters.rollout import canaried, listed, promoted, rolled_back
from exporters.traffic import TrafficStore
from model_repository.traffic import CANARY, CHAMPION, heartbeat_key
from tests.exporters.canaries import arms, beat, tally, with_canary
from tests.exporters.test_rollout import release


@pytest.fixture
def settings(redis_server: Settings, tmp_path: Path) -> Settings:
    settings = redis_server.model_copy(update={"home": tmp_path})
    with_canary(settings)
    return settings


def test_a_bad_canary_is_rolled_back_and_the_reason_kept(settings: Settings) -> None:
    beat(settings, "a")
    assert not guard(settings, Guardrails()).rolled_back
    beat(settings, "a", {1: tally(20_000), 2: tally(1000, failed=50)})
    seen = guard(settings, Guardrails())
    assert seen.rolled_back
    assert arms(settings) == {CHAMPION: 1}
    changed = TrafficStore(settings).require().changed
    assert changed.action == "rollback"
    assert changed.reason == f"guard: {seen.verdict.broken}"
    (line,) = (settings.logs / LOG).read_text().splitlines()
    assert json.loads(line)["release"] == 2
    assert guard(settings, Guardrails()).canary is None


def test_what_was_counted_before_the_canary_does_not_count(settings: Settings) -> None:
    old = tally(1000, failed=500)
    beat(settings, "a", {1: tally(20_000), 2: old})
    guard(settings, Guardrails())
    beat(settings, "a", {1: tally(40_000), 2: tally(2000, failed=500)})
    assert not guard(settings, Guardrails()).rolled_back
    assert arms(settings) == {CHAMPION: 1, CANARY: 2}


def test_orchestrators_add_up_also_those_that_are_gone(settings: Settings) -> None:
    for instance in "ab":
        beat(settings, instance)
    guard(settings, Guardrails())
    beat(settings, "a", {1: tally(9_000), 2: tally(400, failed=20)})
    assert guard(settings, Guardrails()).answers == 420
    TrafficStore(settings)._redis.delete(heartbeat_key("a"))
    beat(settings, "c")  # it started after the baseline
    guard(settings, Guardrails())
    beat(settings, "c", {1: tally(9_000), 2: tally(400, failed=20)})
    seen = guard(settings, Guardrails())
    assert seen.answers == 840
    assert seen.rolled_back


def test_a_tally_that_starts_over_is_no_negative_count(settings: Settings) -> None:
    beat(settings, "a", {1: tally(20_000), 2: tally(900)})
    guard(settings, Guardrails())
    beat(settings, "a", {1: tally(30_000), 2: tally(100)})
    assert guard(settings, Guardrails()).answers == 100


def test_the_past_of_one_whose_heartbeat_was_away_does_not_count(settings: Settings) -> None:
    """As after a restart of Redis: the record is back from its mirror, the heartbeats come later."""
    guard(settings, Guardrails())
    beat(settings, "a", {1: tally(20_000), 2: tally(1000, failed=500)})
    assert guard(settings, Guardrails()).answers == 0


def test_a_second_attempt_starts_from_nothing(settings: Settings) -> None:
    """The same release with the same share, after a rollback that no guard saw."""
    bad = tally(1000, failed=50)
    beat(settings, "a")
    guard(settings, Guardrails())
    beat(settings, "a", {1: tally(20_000), 2: bad})
    store = TrafficStore(settings)
    store.change(lambda before: rolled_back(before))  # type: ignore[arg-type]
    store.change(lambda before: canaried(before, 2, 0.05))  # type: ignore[arg-type]
    assert not guard(settings, Guardrails()).rolled_back


def test_a_change_that_leaves_the_arms_keeps_the_window(settings: Settings) -> None:
    beat(settings, "a")
    guard(settings, Guardrails())
    TrafficStore(settings).change(lambda before: listed(before, release(3, 3)))
    beat(settings, "a", {1: tally(20_000), 2: tally(800)})
    assert guard(settings, Guardrails()).answers == 800


def test_two_may_look_at_once(settings: Settings) -> None:
    """A guard and a ramp: neither loses what the other saw, nor trips over its file."""
    beat(settings, "a")
    guard(settings, Guardrails())
    beat(settings, "a", {1: tally(20_000), 2: tally(700)})
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda _: guard(settings, Guardrails()).answers, range(40)))
    assert seen == [700] * 40


def test_without_redis_nothing_is_decided(settings: Settings) -> None:
    with pytest.raises(ServerError):
        guard(settings.model_copy(update={"redis_port": 1}), Guardrails())
    assert arms(settings) == {CHAMPION: 1, CANARY: 2}


def test_a_champion_is_never_rolled_back(settings: Settings) -> None:
    TrafficStore(settings).change(lambda before: promoted(before, 2))  # type: ignore[arg-type]
    beat(settings, "a", {1: tally(0), 2: tally(1000, failed=900)})
    assert guard(settings, Guardrails()).canary is None
    assert arms(settings) == {CHAMPION: 2}
