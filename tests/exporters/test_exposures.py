"""The sample-ratio test sees what the split really was."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from exporters.guard.exposures import exposures, sample_ratio
from exporters.rollout import canaried, listed
from model_repository.traffic import CANARY, CHAMPION, Traffic
from orchestrator.traffic import Plan
from tests.exporters.test_rollout import release

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def record() -> Traffic:
    traffic = canaried(listed(listed(None, release(1, 1)), release(2, 2)), 2, 0.2)
    return traffic.model_copy(update={"changed": traffic.changed.model_copy(update={"at": START}), "salt": "s"})


def line(user: str, variant: str, seconds: float = 60.0) -> bytes:
    at = (START + timedelta(seconds=seconds)).timestamp()
    return json.dumps({"event": "impressions", "at": at, "user_id": user, "variant": variant}).encode()


def assigned(record: Traffic, count: int) -> list[bytes]:
    """Lines as an orchestrator writes them, each user twice."""
    plan = Plan.of(record)
    return [line(f"u{n}", plan.assign(f"u{n}").variant) for n in range(count)] * 2


def test_a_split_as_asked_for_raises_no_alarm(record: Traffic) -> None:
    log = assigned(record, 5000)
    found = exposures(log, record)
    assert sum(found.users.values()) == 5000
    assert found.users[CANARY] / 5000 == pytest.approx(0.2, abs=0.02)
    assert not found.alarm


def test_lost_users_of_one_arm_raise_it(record: Traffic) -> None:
    """One in ten of the canary's users is missing, as when its slow answers time out before they are logged."""
    kept = [text for n, text in enumerate(assigned(record, 20_000)) if f'"{CANARY}"'.encode() not in text or n % 10]
    log = kept[:20_000]
    found = exposures(log, record)
    assert found.p_value < 0.001
    assert found.alarm


def test_a_user_on_both_sides_raises_it(record: Traffic) -> None:
    log = [*assigned(record, 1000), line("u1", CHAMPION), line("u1", CANARY)]
    found = exposures(log, record)
    assert found.in_two == 1
    assert found.alarm


def test_what_was_before_the_change_or_is_torn_does_not_count(record: Traffic) -> None:
    log = [line("a", CANARY, -5), line("a", CHAMPION, 1.0), b"{}", line("b", CANARY), line("c", CANARY)[:30], b""]
    assert dict(exposures(log, record).users) == {CHAMPION: 0, CANARY: 1}


def test_nobody_is_no_alarm(record: Traffic) -> None:
    assert not exposures([], record).alarm
    assert sample_ratio({CHAMPION: 5}, {CHAMPION: 1.0}) == 1.0


def test_a_known_table() -> None:
    """χ² of 60 and 40 where 50 and 50 were wanted is 4 with one degree of freedom: p = 0.0455."""
    assert sample_ratio({CHAMPION: 60, CANARY: 40}, {CHAMPION: 0.5, CANARY: 0.5}) == pytest.approx(0.0455, abs=1e-4)
