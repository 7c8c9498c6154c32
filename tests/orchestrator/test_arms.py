"""Which arm a user is in, for ever, and what a plan prepares of its releases."""

from collections import Counter

import pytest

from exporters.rollout import canaried, promoted
from model_repository.traffic import CANARY, Arm, Traffic
from orchestrator.traffic import Plan, bucket, salt_key
from tests.orchestrator.conftest import record, served

ARMS = (Arm(variant="champion", release=1, share=0.9), Arm(variant="challenger", release=2, share=0.1))


def plan(salt: str = "salt") -> Plan:
    traffic = Traffic.model_validate_json(record(served(1), served(2), arms=ARMS))
    return Plan.of(traffic.model_copy(update={"salt": salt}))


def test_the_same_user_is_in_the_same_arm_for_ever():
    """Golden values: changing them moves users between arms in the middle of every experiment."""
    points = {(salt, user): bucket(salt_key(salt), user) for salt, user in GOLDEN}
    assert points == {key: pytest.approx(point, abs=1e-12) for key, point in GOLDEN.items()}


GOLDEN = {
    ("salt", "ana"): 0.9585839696800877,
    ("salt", "42"): 0.5256159389276098,
    ("salt", "žöß"): 0.003255258297747754,
    ("salt", ""): 0.5205437178656396,
    ("0123456789abcdef", "ana"): 0.19688408873189012,
    ("0123456789abcdef", "42"): 0.404394413331835,
}


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


def test_a_ramp_moves_users_to_the_canary_only_and_promoting_ends_it():
    """As the exporter does it: 5 → 25 → 100 %."""
    users = [str(i) for i in range(5000)]
    traffic = Traffic.model_validate_json(record(served(2), served(1)))
    there: set[str] = set()
    for share in (0.05, 0.25):
        traffic = canaried(traffic, 2, share)
        now = {user for user in users if Plan.of(traffic).assign(user).variant == CANARY}
        assert there < now
        assert len(now) / len(users) == pytest.approx(share, abs=0.02)
        there = now
    done = Plan.of(promoted(traffic, 2))
    assert {done.assign(user).release.number for user in users} == {2}


def test_a_release_that_stays_as_it_was_is_taken_over():
    before = Plan.of(Traffic.model_validate_json(record(served(1), served(2), arms=ARMS)))
    moved = served(2).model_copy(update={"triton": ("green:1",)})
    after = Plan.of(Traffic.model_validate_json(record(served(1), moved, arms=ARMS, sequence=2)), before)
    assert after.releases[1] is before.releases[1]
    assert after.releases[2].recommend.targets == ("green:1",)


def test_a_release_is_prepared_with_its_models_and_cache_keys():
    release = plan().releases[2]
    assert (release.recommend.name, release.recommend.version) == ("recommend_2", 1)
    assert (release.candidates.name, release.candidates.version) == ("candidates", 2)
    assert release.embedding_prefix == plan().releases[1].embedding_prefix  # same tower: a refresh keeps the cache
