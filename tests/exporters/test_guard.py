"""A canary that is worse is noticed, one that is not is left alone; what was counted survives restarts."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.local.runtime import RedisServer
from deploy.settings import Settings
from exporters.errors import ServerError, TrafficError
from exporters.guard.controller import LOG, guard
from exporters.guard.judge import Guardrails, judge, p99, slower
from exporters.guard.ramp import RampStoppedError, Schedule, ramp
from exporters.rollout import canaried, listed, promoted, rolled_back
from exporters.shift import Step, shift
from exporters.traffic import TrafficStore
from feature_repo.schema import SCHEMA
from model_repository.traffic import (
    CANARY,
    CHAMPION,
    HEARTBEAT_TTL_S,
    LATENCY_BOUNDS_S,
    Heartbeat,
    ServedRelease,
    Tally,
    heartbeat_key,
)
from model_repository.traffic import Traffic as Record
from tests.ports import isolated_settings

BUCKETS = len(LATENCY_BOUNDS_S) + 1
FAST, SLOW = 5, 13  # buckets of 10 ms and of 150 ms


def tally(answers: int = 1000, *, failed: int = 0, degraded: int = 0, slow: int = 0) -> Tally:
    latency = [0] * BUCKETS
    latency[FAST], latency[SLOW] = answers - slow, slow
    return Tally(answers=answers, degraded=degraded, failed=failed, latency=tuple(latency))


def verdict(canary: Tally, champion: Tally | None = None, share: float = 0.05) -> str:
    return judge(champion or tally(20_000), canary, share, Guardrails()).broken


def test_an_equal_canary_stays() -> None:
    assert verdict(tally()) == ""
    same = tally(20_000, failed=400, degraded=2000, slow=1000)
    assert verdict(tally(1000, failed=20, degraded=100, slow=50), same) == ""


def test_failures_break() -> None:
    assert "2.91 % of 1030 answers" in verdict(tally(failed=30))
    assert "failed" in verdict(tally(failed=30))


def test_degraded_answers_break() -> None:
    assert "6.00 % of 1000 answers (champion 0.00 % of 20000) degraded" in verdict(tally(degraded=60))


def test_slow_answers_break() -> None:
    assert verdict(tally(slow=40)).startswith("p99 ")
    assert "the champion's is 10 ms" in verdict(tally(slow=40))


def test_a_few_slow_ones_are_chance() -> None:
    assert verdict(tally(slow=12)) == ""


def test_a_significant_trifle_is_tolerated() -> None:
    """0.4 points more failures, of so many answers that chance is out of the question."""
    assert verdict(tally(1_000_000, failed=4000), tally(1_000_000)) == ""


def test_too_few_answers_decide_nothing() -> None:
    found = judge(tally(20_000), tally(400, failed=90), 0.05, Guardrails())
    assert (found.broken, found.enough) == ("", False)


def test_silence_where_many_were_expected_breaks() -> None:
    none = tally(0)
    assert "no answer at all" in verdict(none, tally(20_000), share=0.05)
    assert verdict(none, tally(1000), share=0.05) == ""  # 53 expected: the record may just have changed


@given(st.integers(500, 5000), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 0.5))
def test_a_canary_never_breaks_against_itself(n: int, failed: float, degraded: float, slow: float) -> None:
    both = tally(n, failed=int(n * failed), degraded=int(n * degraded), slow=int(n * slow))
    assert verdict(both, both, share=0.5) == ""


@given(st.integers(0, 1000), st.integers(0, 200))
def test_more_failures_never_mend_a_verdict(failed: int, more: int) -> None:
    if verdict(tally(failed=failed)):
        assert verdict(tally(failed=failed + more))


def test_p99_is_within_its_bucket() -> None:
    assert p99(tally(100)) == pytest.approx(0.0075 + 0.0025 * 0.99)
    assert p99(tally(0)) == 0.0
    assert p99(Tally(answers=1, latency=(*[0] * (BUCKETS - 1), 1))) == float("inf")
    assert slower(tally(100, slow=7), 0.02) == 7
    assert slower(tally(100, slow=7), 0.2) == 0


@pytest.mark.parametrize("wrong", [{"failed": 0.0}, {"level": 0.6}, {"p99_factor": 0.5}, {"min_answers": 0}])
def test_guardrails_without_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"at least|between"):
        Guardrails(**wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = isolated_settings(tmp_path_factory.mktemp("redis"))
    with RedisServer(settings):
        yield settings


def release(number: int) -> ServedRelease:
    return ServedRelease(
        release=number, line=number, user_tower=("user_tower", 1), candidates=("candidates", number),
        recommend=(f"recommend_{number}", 1), tower_digest="d", schema_hash=SCHEMA.hash, triton=("127.0.0.1:1",),
    )  # fmt: skip


@pytest.fixture
def settings(redis_server: Settings, tmp_path: Path) -> Settings:
    """Release 1 is the champion, 2 the canary with 5 %."""
    settings = redis_server.model_copy(update={"home": tmp_path})
    settings.workspace.mkdir(parents=True)
    store = TrafficStore(settings)
    store._redis.flushall()
    store.change(lambda before: listed(before, release(1)))
    store.change(lambda before: listed(before, release(2)))
    store.change(lambda before: canaried(before, 2, 0.05))  # type: ignore[arg-type]
    return settings


def beat(settings: Settings, instance: str, **tallies: Tally) -> None:
    """A heartbeat with tallies of release 1 (`champion`) and 2 (`canary`)."""
    counted = {1: tallies.get("champion", tally(0)), 2: tallies.get("canary", tally(0))}
    content = Heartbeat(instance=instance, at=time.time(), sequence=1, releases=(1, 2), tallies=counted)
    TrafficStore(settings)._redis.set(heartbeat_key(instance), content.model_dump_json(), ex=HEARTBEAT_TTL_S)


def arms(settings: Settings) -> dict[str, int]:
    return {arm.variant: arm.release for arm in TrafficStore(settings).require().arms}


def test_a_bad_canary_is_rolled_back_and_the_reason_kept(settings: Settings) -> None:
    beat(settings, "a")
    assert not guard(settings, Guardrails()).rolled_back
    beat(settings, "a", champion=tally(20_000), canary=tally(1000, failed=50))
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
    beat(settings, "a", champion=tally(20_000), canary=old)
    guard(settings, Guardrails())
    beat(settings, "a", champion=tally(40_000), canary=tally(2000, failed=500))
    assert not guard(settings, Guardrails()).rolled_back
    assert arms(settings) == {CHAMPION: 1, CANARY: 2}


def test_orchestrators_add_up_also_those_that_are_gone(settings: Settings) -> None:
    for instance in "ab":
        beat(settings, instance)
    guard(settings, Guardrails())
    beat(settings, "a", champion=tally(9_000), canary=tally(400, failed=20))
    assert guard(settings, Guardrails()).answers == 420
    TrafficStore(settings)._redis.delete(heartbeat_key("a"))
    beat(settings, "c", champion=tally(9_000), canary=tally(400, failed=20))  # it started after the baseline
    seen = guard(settings, Guardrails())
    assert seen.answers == 840
    assert seen.rolled_back


def test_a_tally_that_starts_over_is_no_negative_count(settings: Settings) -> None:
    beat(settings, "a", champion=tally(20_000), canary=tally(900))
    guard(settings, Guardrails())
    beat(settings, "a", champion=tally(30_000), canary=tally(100))
    assert guard(settings, Guardrails()).answers == 100


def test_without_redis_nothing_is_decided(settings: Settings) -> None:
    with pytest.raises(ServerError):
        guard(settings.model_copy(update={"redis_port": 1}), Guardrails())
    assert arms(settings) == {CHAMPION: 1, CANARY: 2}


def test_a_champion_is_never_rolled_back(settings: Settings) -> None:
    TrafficStore(settings).change(lambda before: promoted(before, 2))  # type: ignore[arg-type]
    beat(settings, "a", champion=tally(0), canary=tally(1000, failed=900))
    assert guard(settings, Guardrails()).canary is None
    assert arms(settings) == {CHAMPION: 2}


class Traffic:
    """Stands for `sleep` of a ramp: in it orchestrators answer, well or badly."""

    def __init__(self, settings: Settings, failed_above: float = 1.0) -> None:
        self.settings, self.failed_above = settings, failed_above
        self.n, self.failed, self.shares = 0, 0, list[float]()

    def __call__(self, _: float) -> None:
        canary = TrafficStore(self.settings).require().arm(CANARY)
        share = canary.share if canary else 0.0
        self.shares.append(round(share, 6))
        self.n += 1000
        self.failed += 300 if share > self.failed_above else 0
        beat(self.settings, "a", champion=tally(20 * self.n), canary=tally(self.n, failed=self.failed))


QUICK = Schedule(hold_s=0.0, every_s=0.01)


def unasked(settings: Settings, step: Step) -> Record:
    """`shift` without asking Triton, which is not here; tests/e2e/test_publish.py asks it."""
    return shift(settings, step, force=True)


@pytest.fixture
def ready(settings: Settings) -> Settings:
    """The release is listed, nobody is sent to it."""
    TrafficStore(settings).change(lambda before: rolled_back(before))  # type: ignore[arg-type]
    return settings


def test_a_good_release_goes_all_the_way(ready: Settings) -> None:
    traffic = Traffic(ready)
    assert ramp(ready, 2, QUICK, Guardrails(), lambda _: None, traffic, unasked) == 100.0
    assert arms(ready) == {CHAMPION: 2}
    assert traffic.shares == [0.05, 0.25]


def test_a_release_that_breaks_on_the_way_is_rolled_back(ready: Settings) -> None:
    with pytest.raises(RampStoppedError, match=r"release 2 was rolled back: .* failed"):
        ramp(ready, 2, QUICK, Guardrails(), lambda _: None, Traffic(ready, failed_above=0.2), unasked)
    assert arms(ready) == {CHAMPION: 1}


def test_a_ramp_goes_on_from_the_share_it_finds(ready: Settings) -> None:
    TrafficStore(ready).change(lambda before: canaried(before, 2, 0.25))  # type: ignore[arg-type]
    traffic = Traffic(ready)
    ramp(ready, 2, QUICK, Guardrails(), lambda _: None, traffic, unasked)
    assert traffic.shares == [0.25]


def test_a_rollback_by_hand_ends_the_ramp(ready: Settings) -> None:
    def somebody(_: float) -> None:
        TrafficStore(ready).change(lambda before: rolled_back(before))  # type: ignore[arg-type]

    with pytest.raises(RampStoppedError, match="somebody changed the arms"):
        ramp(ready, 2, QUICK, Guardrails(), lambda _: None, somebody, unasked)


def test_what_cannot_be_a_canary_is_refused(ready: Settings) -> None:
    for number, message in ((9, "not published"), (1, "is the champion")):
        with pytest.raises(TrafficError, match=message):
            ramp(ready, number, QUICK, Guardrails(), lambda _: None)


@pytest.mark.parametrize("steps", [(), (25.0, 5.0), (0.0, 50.0), (50.0, 120.0)])
def test_a_schedule_ascends(steps: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"ascend|at most 100"):
        Schedule(steps=steps)
