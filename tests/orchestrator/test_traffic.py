"""Following the traffic record: what is refused, what an outage leaves in force, and what is said of it."""

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from model_repository.traffic import TRAFFIC_KEY
from orchestrator.contact import PATIENCE_S
from orchestrator.errors import UnavailableError
from orchestrator.fakes import FakeStore
from orchestrator.metrics import REGISTRY
from orchestrator.traffic import Materialized, TrafficFollower, read_marker
from tests.orchestrator.clock import Clock
from tests.orchestrator.conftest import record, served


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(values={TRAFFIC_KEY: record()})


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def follower(store: FakeStore, tmp_path: Path, clock: Clock) -> TrafficFollower:
    return TrafficFollower(store, tmp_path / "traffic.json", linger_s=0.2, clock=clock)


def refused(reason: str) -> float:
    """How many records were refused for that reason, in all tests."""
    return REGISTRY.get_sample_value("traffic_records_refused_total", {"reason": reason}) or 0.0


@pytest.mark.anyio
async def test_changes_are_followed(follower: TrafficFollower, store: FakeStore):
    assert await follower.refresh()
    assert not await follower.refresh()
    store.values[TRAFFIC_KEY] = record(served(2), sequence=2)
    assert await follower.refresh()
    assert follower.plan.assign("a").release.number == 2


def other_schema() -> bytes:
    return record(served(9).model_copy(update={"schema_hash": "other"}), sequence=9)


def without_an_arms_release() -> bytes:
    return record(served(8), sequence=9).replace(b'"release":8,"share"', b'"release":7,"share"')


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        *((bad, "unreadable") for bad in (b"", b"{", b"[]", b"\xff", b'{"sequence":2}', without_an_arms_release())),
        (record(served(3), sequence=1), "older"),
        (other_schema(), "another_schema"),
    ],
)
async def test_the_last_good_record_is_kept(follower: TrafficFollower, store: FakeStore, bad: bytes, reason: str):
    store.values[TRAFFIC_KEY] = record(served(2), sequence=2)
    await follower.refresh()
    store.values[TRAFFIC_KEY], before = bad, refused(reason)
    for _ in range(3):
        assert not await follower.refresh()
    assert follower.plan.assign("a").release.number == 2
    assert refused(reason) == before + 1  # a record is counted once, however often it is read
    del store.values[TRAFFIC_KEY]
    assert not await follower.refresh()
    assert follower.plan is not None


@pytest.mark.anyio
async def test_a_restart_does_not_follow_a_redis_restored_from_an_older_backup(store: FakeStore, tmp_path: Path):
    first = TrafficFollower(store, tmp_path / "traffic.json")
    store.values[TRAFFIC_KEY] = record(served(2), sequence=2)
    await first.start()
    store.values[TRAFFIC_KEY] = record(served(1), sequence=1)
    restarted = TrafficFollower(store, tmp_path / "traffic.json")
    await restarted.start()
    assert restarted.plan.record.sequence == 2
    store.values[TRAFFIC_KEY] = record(served(1), sequence=3)
    assert await restarted.refresh()


@pytest.mark.anyio
async def test_the_same_record_written_differently_is_no_change(follower: TrafficFollower, store: FakeStore):
    await follower.refresh()
    plan = follower.plan
    store.values[TRAFFIC_KEY] = plan.record.model_dump_json(indent=2).encode()
    assert not await follower.refresh()
    assert follower.plan is plan


@pytest.mark.anyio
async def test_the_record_before_is_in_use_until_its_requests_are_over(
    follower: TrafficFollower, store: FakeStore, clock: Clock
):
    await follower.refresh()
    store.values[TRAFFIC_KEY] = record(served(2), sequence=2)
    await follower.refresh()
    assert [plan.record.sequence for plan in follower.in_use()] == [1, 2]
    clock.now += 0.3
    assert [plan.record.sequence for plan in follower.in_use()] == [2]


@pytest.mark.anyio
@pytest.mark.parametrize("changed", [True, False])
async def test_an_outage_is_said_once_and_so_is_its_end(
    follower: TrafficFollower, store: FakeStore, clock: Clock, changed: bool
):
    await follower.refresh()
    store.failure = UnavailableError("x")
    with capture_logs() as said:
        for _ in range(10):
            clock.now += 0.5
            await follower.refresh()
        store.failure = None
        store.values[TRAFFIC_KEY] = record(served(2), sequence=2) if changed else record()
        for _ in range(3):
            await follower.refresh()
    about = [line for line in said if line["event"] != "traffic"]
    assert about == [
        {"event": "traffic_unconfirmed", "log_level": "warning", "reason": "unavailable", "confirmed_seconds_ago": 1.5},
        {"event": "traffic_confirmed_again", "log_level": "warning", "after_s": 4.5, "changed": changed},
    ]
    assert follower.contact.age() == 0.0


@pytest.mark.anyio
async def test_one_late_read_is_no_outage(follower: TrafficFollower, store: FakeStore, clock: Clock):
    await follower.refresh()
    with capture_logs() as said:
        for failure in (UnavailableError("x"), None, UnavailableError("x"), None):
            store.failure = failure
            clock.now += PATIENCE_S
            await follower.refresh()
    assert said == []


@pytest.mark.anyio
@pytest.mark.parametrize(("content", "reason"), [(None, "absent"), (b"{torn", "refused")])
async def test_a_redis_without_the_record_confirms_nothing(
    follower: TrafficFollower, store: FakeStore, clock: Clock, content: bytes | None, reason: str
):
    await follower.refresh()
    del store.values[TRAFFIC_KEY]
    if content is not None:
        store.values[TRAFFIC_KEY] = content
    with capture_logs() as said:
        for _ in range(3):
            clock.now += PATIENCE_S
            await follower.refresh()
    assert follower.contact.age() == 3 * PATIENCE_S
    assert [line["reason"] for line in said if line["event"] == "traffic_unconfirmed"] == [reason]


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
