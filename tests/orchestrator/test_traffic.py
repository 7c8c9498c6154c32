"""Following the traffic record, and which arm a user is in."""

from collections import Counter
from pathlib import Path

import pytest

from model_repository.traffic import TRAFFIC_KEY, Arm, Traffic
from orchestrator.errors import UnavailableError
from orchestrator.fakes import FakeStore
from orchestrator.traffic import Materialized, Plan, TrafficFollower, bucket, read_marker, salt_key
from tests.orchestrator.conftest import record, served

ARMS = (Arm(variant="champion", release=1, share=0.9), Arm(variant="challenger", release=2, share=0.1))


def plan(salt: str = "salt") -> Plan:
    traffic = Traffic.model_validate_json(record(served(1), served(2), arms=ARMS))
    return Plan.of(traffic.model_copy(update={"salt": salt}))


def test_the_same_user_is_in_the_same_arm_for_ever():
    """Golden values: changing them moves users between arms in the middle of every experiment."""
    assert [round(bucket(salt_key("salt"), user), 6) for user in ("ana", "42", "žöß")] == GOLDEN


GOLDEN = [0.958584, 0.525616, 0.003255]


def test_shares_are_kept_and_another_salt_shuffles():
    users = [str(i) for i in range(20_000)]
    arms = Counter(plan().assign(user).variant for user in users)
    assert arms["challenger"] / len(users) == pytest.approx(0.1, abs=0.01)
    moved = sum(plan("other").assign(user).variant != plan().assign(user).variant for user in users[:2000])
    assert moved > 200


def test_a_growing_share_moves_nobody_back():
    """Ramping a challenger up keeps those who are in it: it must own the end of [0, 1)."""
    small = Plan.of(Traffic.model_validate_json(record(served(1), served(2), arms=ARMS)))
    bigger = (Arm(variant="champion", release=1, share=0.5), Arm(variant="challenger", release=2, share=0.5))
    large = Plan.of(Traffic.model_validate_json(record(served(1), served(2), arms=bigger)))
    for user in map(str, range(2000)):
        if small.assign(user).variant == "challenger":
            assert large.assign(user).variant == "challenger"


def test_a_release_is_prepared_with_its_models_and_cache_keys():
    release = plan().releases[2]
    assert (release.recommend.name, release.recommend.version) == ("recommend_2", 1)
    assert (release.candidates.name, release.candidates.version) == ("candidates", 2)
    assert release.embedding_prefix == plan().releases[1].embedding_prefix  # same tower: a refresh keeps the cache


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(values={TRAFFIC_KEY: record()})


@pytest.fixture
def follower(store: FakeStore, tmp_path: Path) -> TrafficFollower:
    return TrafficFollower(store, tmp_path / "traffic.json")


@pytest.mark.anyio
async def test_changes_are_followed(follower: TrafficFollower, store: FakeStore):
    assert await follower.refresh()
    assert not await follower.refresh()
    store.values[TRAFFIC_KEY] = record(served(2), sequence=2)
    assert await follower.refresh()
    assert follower.plan.assign("a").release.number == 2


def other_schema() -> bytes:
    return record(served(9).model_copy(update={"schema_hash": "other"}), sequence=9)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "bad", [b"", b"{", b"[]", b"\xff", b'{"sequence":2}', record(served(3), sequence=1), other_schema()]
)
async def test_the_last_good_record_is_kept(follower: TrafficFollower, store: FakeStore, bad: bytes):
    store.values[TRAFFIC_KEY] = record(served(2), sequence=2)
    await follower.refresh()
    store.values[TRAFFIC_KEY] = bad
    assert not await follower.refresh()
    assert follower.plan.assign("a").release.number == 2
    del store.values[TRAFFIC_KEY]
    assert not await follower.refresh()
    assert follower.plan is not None


@pytest.mark.anyio
async def test_the_mirror_is_read_when_redis_is_away(follower: TrafficFollower, store: FakeStore, tmp_path: Path):
    await follower.start()
    store.failure = UnavailableError("x")
    restarted = TrafficFollower(store, tmp_path / "traffic.json")
    await restarted.start()
    assert restarted.plan == follower.plan or restarted.plan.record == follower.plan.record


@pytest.mark.anyio
async def test_a_broken_mirror_is_not_fatal(store: FakeStore, tmp_path: Path):
    (tmp_path / "traffic.json").write_bytes(b"{torn")
    store.failure = UnavailableError("x")
    follower = TrafficFollower(store, tmp_path / "traffic.json")
    await follower.start()
    assert follower.plan is None


def test_age_counts_from_the_moment_the_data_calls_now():
    history = Materialized(at=1_700_000_000, as_of=1_500_000_000)
    assert history.age(computed_at=1_500_000_000 - 60, now=1_700_000_000 + 40) == 100


@pytest.mark.parametrize("content", [None, b"", b"{", b"{}", b'{"at":1,"as_of":2}', b'{"at":"x","as_of":"y"}', b"[]"])
def test_an_unreadable_marker_is_none(content: bytes | None):
    assert read_marker(content) is None
