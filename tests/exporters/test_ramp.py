"""A ramp goes up while all is well, and stops for good when it is not; nothing it does undoes what others decided."""

from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.settings import Settings
from exporters.errors import TrafficError
from exporters.guard.controller import guard
from exporters.guard.judge import Guardrails
from exporters.guard.ramp import RampStoppedError, World, ramp
from exporters.guard.schedule import Schedule
from exporters.rollout import canaried, listed, promoted, replaced, rolled_back
from exporters.shift import Step, shift
from exporters.traffic import TrafficStore
from model_repository.traffic import CANARY, CHAMPION, Traffic
from tests.exporters.canaries import arms, beat, tally, with_canary
from tests.exporters.test_rollout import release, shares


@pytest.fixture
def settings(redis_server: Settings, tmp_path: Path) -> Settings:
    """Release 1 is the champion, 2 is listed, nobody is sent to it."""
    settings = redis_server.model_copy(update={"home": tmp_path})
    with_canary(settings).change(lambda before: rolled_back(before))  # type: ignore[arg-type]
    return settings


def by_hand(settings: Settings, step: Step) -> None:
    TrafficStore(settings).change(lambda before: step(before))  # type: ignore[arg-type]


class Users:
    """Time passes only while the ramp sleeps; meanwhile orchestrators answer, well or badly, 1000 for the canary."""

    def __init__(self, settings: Settings, failed_above: float = 1.0) -> None:
        self.settings, self.failed_above = settings, failed_above
        self.n, self.failed, self.now = 0, 0, 0.0
        self.shares: list[float] = []

    def world(self) -> World:
        """`shift` doesn't ask Triton, which is not here; tests/e2e asks it."""
        return World(clock=lambda: self.now, sleep=self.sleep, change=self.change)

    def change(self, settings: Settings, step: Step) -> Traffic:
        return shift(settings, step, force=True)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        canary = TrafficStore(self.settings).require().arm(CANARY)
        share = round(canary.share, 6) if canary else 0.0
        self.shares.append(share)
        self.n += 1000
        self.failed += 300 if share > self.failed_above else 0
        number = canary.release if canary else 0
        beat(self.settings, "a", {1: tally(20 * self.n), number: tally(self.n, failed=self.failed)})


class Interrupted(Users):
    """Somebody does something once, while the ramp sleeps for the third time."""

    def __init__(self, settings: Settings, what: Callable[[], None]) -> None:
        super().__init__(settings)
        self.what = what

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if len(self.shares) == 3:
            self.what()


QUICK = Schedule(hold_s=0.0, every_s=5.0)


def climb(users: Users, schedule: Schedule = QUICK, number: int = 2) -> float:
    return ramp(users.settings, number, schedule, Guardrails(), lambda _: None, users.world())


def test_a_good_release_goes_all_the_way(settings: Settings) -> None:
    beat(settings, "a")
    users = Users(settings)
    assert climb(users) == 100.0
    assert arms(settings) == {CHAMPION: 2}
    assert users.shares == [0.05, 0.25]


def test_a_step_is_held_for_its_time(settings: Settings) -> None:
    beat(settings, "a")
    users = Users(settings)
    climb(users, Schedule(hold_s=15.0, every_s=5.0))
    assert users.shares == [0.05] * 3 + [0.25] * 3


def test_time_alone_is_not_enough(settings: Settings) -> None:
    """The hold is over at once, but it takes six sleeps until the canary gave enough answers."""
    beat(settings, "a")
    users = Users(settings)
    ramp(settings, 2, QUICK, Guardrails(min_answers=5500), lambda _: None, users.world())
    assert users.shares == [0.05] * 6 + [0.25] * 6


def test_a_release_that_breaks_on_the_way_is_rolled_back(settings: Settings) -> None:
    beat(settings, "a")
    with pytest.raises(RampStoppedError, match=r"release 2 was rolled back: .* failed"):
        climb(Users(settings, failed_above=0.2))
    assert arms(settings) == {CHAMPION: 1}


def test_a_ramp_goes_on_from_the_share_it_finds(settings: Settings) -> None:
    beat(settings, "a")
    by_hand(settings, lambda before: canaried(before, 2, 0.25))
    users = Users(settings)
    climb(users)
    assert users.shares == [0.25]


def test_a_share_above_the_last_step_stays(settings: Settings) -> None:
    by_hand(settings, lambda before: canaried(before, 2, 0.5))
    assert climb(Users(settings), Schedule(steps=(5.0, 25.0))) == 50.0
    assert TrafficStore(settings).require().arm(CANARY).share == 0.5  # type: ignore[union-attr]


HANDS: dict[str, tuple[Step, dict[str, tuple[int, float]]]] = {
    "rolled back": (lambda before: rolled_back(before, reason="by hand"), {CHAMPION: (1, 1.0)}),
    "another share": (lambda before: canaried(before, 2, 0.1), {CHAMPION: (1, 0.9), CANARY: (2, 0.1)}),
    "another champion": (lambda before: promoted(before, 2), {CHAMPION: (2, 1.0)}),
}


@pytest.mark.parametrize(("step", "after"), HANDS.values(), ids=HANDS)
def test_what_somebody_did_by_hand_ends_it_and_stays(
    settings: Settings, step: Step, after: dict[str, tuple[int, float]]
) -> None:
    beat(settings, "a")
    with pytest.raises(RampStoppedError, match="line 2 is the canary at 5 % no more; the last change was: "):
        climb(Interrupted(settings, lambda: by_hand(settings, step)), Schedule(hold_s=60.0, every_s=5.0))
    assert shares(TrafficStore(settings).require()) == after


def test_a_rollback_between_the_look_and_the_step_wins(settings: Settings) -> None:
    """Not in its sleep but right before it writes: the canary must not come back."""

    class Late(Users):
        def change(self, settings: Settings, step: Step) -> Traffic:
            if self.shares:
                by_hand(settings, lambda before: rolled_back(before, reason="by hand"))
            return super().change(settings, step)

    beat(settings, "a")
    with pytest.raises(RampStoppedError, match="rollback by hand"):
        climb(Late(settings))
    assert arms(settings) == {CHAMPION: 1}


def test_a_rollback_by_the_guard_ends_it(settings: Settings) -> None:
    def other() -> None:
        beat(settings, "a", {1: tally(200_000), 2: tally(9_000, failed=900)})
        assert guard(settings, Guardrails()).rolled_back

    beat(settings, "a")
    with pytest.raises(RampStoppedError, match=r"rollback guard: .* failed"):
        climb(Interrupted(settings, other), Schedule(hold_s=60.0, every_s=5.0))
    assert arms(settings) == {CHAMPION: 1}


def test_a_refresh_does_not_end_it(settings: Settings) -> None:
    """The hourly refresh puts release 3, a newer generation of line 2, in the canary's place."""
    beat(settings, "a")
    users = Interrupted(settings, lambda: by_hand(settings, lambda before: replaced(before, 2, release(3, 2))))
    assert climb(users, Schedule(hold_s=30.0, every_s=5.0)) == 100.0
    assert arms(settings) == {CHAMPION: 3}


def test_redis_away_for_a_while_decides_nothing(settings: Settings) -> None:
    def pause() -> None:
        TrafficStore(settings)._redis.client_pause(2500)

    said: list[str] = []
    away = Interrupted(settings, pause)
    beat(settings, "a")
    assert ramp(settings, 2, Schedule(hold_s=20.0), Guardrails(), said.append, away.world()) == 100.0
    assert [text[:18] for text in said if text.startswith("not looked")] == ["not looked: Redis "]


def test_what_cannot_be_a_canary_is_refused(settings: Settings) -> None:
    for number, message in ((9, "not published"), (1, "is the champion")):
        with pytest.raises(TrafficError, match=message):
            climb(Users(settings), number=number)


def test_another_canary_is_refused(settings: Settings) -> None:
    by_hand(settings, lambda before: canaried(before, 2, 0.05))
    by_hand(settings, lambda before: listed(before, release(3, 3)))
    with pytest.raises(TrafficError, match="release 2 is the canary"):
        climb(Users(settings), number=3)


@pytest.mark.parametrize("steps", [(), (25.0, 5.0), (0.0, 50.0), (50.0, 120.0)])
def test_a_schedule_ascends(steps: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"ascend|at most 100"):
        Schedule(steps=steps)
