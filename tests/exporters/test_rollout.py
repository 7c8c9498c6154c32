"""Who answers whom: each step keeps the record whole, and what makes no sense is refused with what would."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporters.errors import TrafficError
from exporters.rollout import canaried, listed, promoted, replaced, retired, rollback_target, rolled_back
from feature_repo.schema import SCHEMA
from model_repository.traffic import CANARY, CHAMPION, Change, ServedRelease, Traffic


def release(number: int, line: int) -> ServedRelease:
    return ServedRelease(
        release=number, line=line, user_tower=("user_tower", line), candidates=("candidates", number),
        recommend=(f"recommend_{number}", 1), tower_digest=f"d{line}", schema_hash=SCHEMA.hash, triton=("triton:1",),
    )  # fmt: skip


@pytest.fixture
def record() -> Traffic:
    """Line 1 was champion with release 1, line 2 is with release 2, line 3's release 3 is ready."""
    first = listed(None, release(1, 1))
    second = promoted(listed(first, release(2, 2)), 2)
    return listed(second, release(3, 3))


def shares(traffic: Traffic) -> dict[str, tuple[int, float]]:
    return {arm.variant: (arm.release, round(arm.share, 9)) for arm in traffic.arms}


def test_the_first_release_becomes_the_champion() -> None:
    first = listed(None, release(1, 1))
    assert shares(first) == {CHAMPION: (1, 1.0)}
    assert first.champions == (1,)
    assert len(first.salt) == 16


def test_a_published_release_gets_nobody(record: Traffic) -> None:
    assert shares(record) == {CHAMPION: (2, 1.0)}
    assert [served.release for served in record.releases] == [1, 2, 3]


def test_publishing_again_lists_it_once(record: Traffic) -> None:
    moved = release(2, 2).model_copy(update={"triton": ("triton:2", "triton:3")})
    again = listed(record, moved)
    assert sorted(served.release for served in again.releases) == [1, 2, 3]
    assert again.endpoints == ("triton:1", "triton:2", "triton:3")
    assert shares(again) == shares(record)


def test_a_canary_takes_its_share_from_the_champion(record: Traffic) -> None:
    assert shares(canaried(record, 3, 0.05)) == {CHAMPION: (2, 0.95), CANARY: (3, 0.05)}


def test_promoting_ends_the_canary_and_remembers_the_champion(record: Traffic) -> None:
    after = promoted(canaried(record, 3, 0.25), 3, "held for an hour")
    assert shares(after) == {CHAMPION: (3, 1.0)}
    assert after.champions == (1, 2, 3)
    assert (after.changed.action, after.changed.reason) == ("promote", "held for an hour")


def test_rolling_a_canary_back_leaves_the_champion(record: Traffic) -> None:
    after = rolled_back(canaried(record, 3, 0.25), reason="errors")
    assert shares(after) == {CHAMPION: (2, 1.0)}
    assert after.champions == record.champions


def test_rolling_back_goes_to_the_previous_line(record: Traffic) -> None:
    after = rolled_back(record)
    assert shares(after) == {CHAMPION: (1, 1.0)}
    assert rollback_target(after) == 2  # and back again


def test_the_previous_line_answers_with_its_newest_generation(record: Traffic) -> None:
    assert shares(rolled_back(listed(record, release(4, 1)))) == {CHAMPION: (4, 1.0)}


def test_with_one_line_the_generation_before_is_the_target() -> None:
    first = listed(None, release(1, 1))
    refreshed = replaced(first, 1, release(2, 1))
    assert shares(refreshed) == {CHAMPION: (2, 1.0)}
    assert shares(rolled_back(refreshed)) == {CHAMPION: (1, 1.0)}


def test_a_refresh_keeps_arms_and_shares(record: Traffic) -> None:
    after = replaced(canaried(record, 3, 0.2), 3, release(4, 3))
    assert shares(after) == {CHAMPION: (2, 0.8), CANARY: (4, 0.2)}
    assert after.served(3) is not None  # until it is retired


def test_a_retired_release_is_no_target(record: Traffic) -> None:
    after = retired(record, 1)
    assert rollback_target(after) is None
    with pytest.raises(TrafficError, match=r"release 1 is not published; published are \[2, 3\]"):
        rolled_back(after, 1)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda t: promoted(t, 9), r"release 9 is not published; published are \[1, 2, 3\]"),
        (lambda t: promoted(t, 2), "release 2 carries all traffic already"),
        (lambda t: canaried(t, 2, 0.1), r"release 2 is the champion; published are \[1, 3\]"),
        (lambda t: canaried(t, 3, 0.0), "not 0 %"),
        (lambda t: canaried(t, 3, 1.0), "not 100 %"),
        (lambda t: canaried(canaried(t, 3, 0.1), 1, 0.1), "release 3 is the canary"),
        (lambda t: rolled_back(t, 2), "release 2 carries all traffic already"),
        (lambda t: retired(t, 2), "release 2 carries traffic"),
        (lambda t: retired(canaried(t, 3, 0.1), 3), "release 3 carries traffic"),
        (lambda t: retired(t, 8), "release 8 is not published"),
        (lambda t: replaced(t, 2, release(4, 3)), "no newer generation"),
    ],
)
def test_what_makes_no_sense_is_refused(record: Traffic, step: object, message: str) -> None:
    with pytest.raises(TrafficError, match=message):
        step(record)  # type: ignore[operator]


def test_with_nothing_before_there_is_no_way_back() -> None:
    with pytest.raises(TrafficError, match="no earlier release to roll back to; no other release is published"):
        rolled_back(listed(None, release(1, 1)))


OPERATIONS = st.tuples(st.sampled_from(["list", "promote", "canary", "back", "retire"]), st.integers(1, 5))


@given(st.lists(OPERATIONS, max_size=30))
def test_whatever_is_done_the_record_stays_whole(operations: list[tuple[str, int]]) -> None:
    record = listed(None, release(1, 1))
    steps = {"promote": promoted, "back": rolled_back, "retire": retired}
    for name, number in operations:
        try:
            if name == "list":
                record = listed(record, release(number, (number + 1) // 2))
            elif name == "canary":
                record = canaried(record, number, number / 10)
            else:
                record = steps[name](record, number)
        except TrafficError:
            continue
        assert record.carried <= {served.release for served in record.releases}
        assert record.arm(CHAMPION) is not None
        assert len({served.release for served in record.releases}) == len(record.releases)
        target = rollback_target(record)
        assert target is None or (record.served(target) is not None and target != record.arm(CHAMPION).release)  # type: ignore[union-attr]


def test_a_change_says_when(record: Traffic) -> None:
    assert isinstance(record.changed, Change)
    assert abs((datetime.now(UTC) - record.changed.at).total_seconds()) < 60
