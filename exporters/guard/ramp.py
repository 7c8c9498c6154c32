"""Growing a canary's share on a schedule while its guardrails hold: 5 → 25 → 100 %.

The traffic record is the state: a ramp that was killed goes on from the share it finds, and one whose canary was rolled
back, by the guard or by hand, stops.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.settings import Settings
from exporters.errors import TrafficError
from exporters.guard.controller import Look, guard
from exporters.guard.judge import Guardrails
from exporters.rollout import canaried, promoted
from exporters.shift import Step, shift
from exporters.traffic import TrafficStore
from model_repository.traffic import CANARY, Traffic

STEPS = (5.0, 25.0, 100.0)
HOLD_S = 600.0
EVERY_S = 5.0


class RampStoppedError(TrafficError):
    """The canary did not reach the end of its ramp; the champion carries all users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Percent of the users by step, and how long each is held at least; a step also waits for enough answers."""

    steps: tuple[float, ...] = STEPS
    hold_s: float = HOLD_S
    every_s: float = EVERY_S

    def __post_init__(self) -> None:
        if not self.steps or list(self.steps) != sorted(set(self.steps)) or not self.steps[0] > 0:
            raise ValueError(f"steps {self.steps} must ascend from above 0")
        if self.steps[-1] > 100:
            raise ValueError(f"the last step is {self.steps[-1]:g} %, at most 100")
        if self.hold_s < 0 or self.every_s <= 0:
            raise ValueError("hold_s must not be negative and every_s must be above 0")


def ramp(
    settings: Settings,
    release: int,
    schedule: Schedule,
    guardrails: Guardrails,
    report: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
    change: Callable[[Settings, Step], Traffic] = shift,
) -> float:
    """Take the release up the schedule; returns the percent it ended with.

    Raises TrafficError when the release cannot be a canary now, RampStoppedError when a guardrail broke or somebody
    else changed the arms.
    """
    reached = _percent(settings, release)
    for percent in _left(schedule.steps, reached):
        if percent != reached:
            report(f"release {release} → {percent:g} % of the users")
            change(settings, _step(release, percent))
        if percent < 100:
            _hold(settings, release, schedule, guardrails, sleep)
    return schedule.steps[-1]


def _left(steps: Sequence[float], reached: float) -> list[float]:
    """The steps still to be done; the one that was reached is held again."""
    return [percent for percent in steps if percent >= reached]


def _percent(settings: Settings, release: int) -> float:
    arm = TrafficStore(settings).require().arm(CANARY)
    return round(100 * arm.share, 6) if arm is not None and arm.release == release else 0.0


def _step(release: int, percent: float) -> Step:
    reason = f"ramp to {percent:g} %"
    if percent == 100:
        return lambda before: promoted(before, release, reason)
    return lambda before: canaried(before, release, percent / 100, reason)


def _hold(
    settings: Settings, release: int, schedule: Schedule, guardrails: Guardrails, sleep: Callable[[float], None]
) -> None:
    """Until the step was held for long enough and enough answers came to judge by."""
    while True:
        seen = guard(settings, guardrails)
        _require_running(seen, release)
        if seen.seconds >= schedule.hold_s and seen.verdict.enough:
            return
        sleep(schedule.every_s)


def _require_running(seen: Look, release: int) -> None:
    if seen.rolled_back:
        raise RampStoppedError(f"release {release} was rolled back: {seen.verdict.broken}")
    if seen.canary != release:
        raise RampStoppedError(f"release {release} is the canary no more; somebody changed the arms")
