"""Growing a canary's share on a schedule while its guardrails hold: 5 → 25 → 100 %.

The traffic record is the state: a ramp that was killed goes on from the share it finds and holds that step again. One
whose canary was rolled back, by the guard or by hand, stops; a refresh that puts a newer generation of the same line in
its place does not stop it. Redis away decides nothing: the ramp looks again.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deploy.settings import Settings
from exporters.errors import ServerError, TrafficError
from exporters.guard.controller import guard
from exporters.guard.judge import Guardrails
from exporters.guard.schedule import Schedule
from exporters.rollout import canaried, promoted
from exporters.shift import Step, shift
from exporters.traffic import TrafficStore
from model_repository.traffic import CANARY, Traffic


class RampStoppedError(TrafficError):
    """The canary did not reach the end of its ramp; the champion carries all users."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The clock (monotonic seconds), waiting, and writing the record."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    change: Callable[[Settings, Step], Traffic] = shift


REAL = World()


def ramp(
    settings: Settings,
    release: int,
    schedule: Schedule,
    guardrails: Guardrails,
    report: Callable[[str], None],
    world: World = REAL,
) -> float:
    """Take the release up the schedule; returns the percent it ended with.

    Raises TrafficError when the release cannot be a canary now, RampStoppedError when a guardrail broke or somebody
    else changed the arms.
    """
    traffic = TrafficStore(settings).require()
    reached, line = _percent(traffic, release), _line(traffic, release)
    climb = _Climb(settings, line, schedule, guardrails, report, world)
    for percent in _left(schedule.steps, reached):
        if percent != reached:
            report(f"ramp to {percent:g} % of the users")
            world.change(settings, climb.step(release, reached, percent))
            reached = percent
        if percent < 100:
            climb.hold(percent)
    return reached


def _left(steps: Sequence[float], reached: float) -> list[float]:
    """The steps still to be done; the one that was reached is held again."""
    return [percent for percent in steps if percent >= reached]


def _percent(traffic: Traffic, release: int) -> float:
    arm = traffic.arm(CANARY)
    return round(100 * arm.share, 6) if arm is not None and arm.release == release else 0.0


def _line(traffic: Traffic, release: int) -> int | None:
    served = traffic.served(release)
    return served.line if served is not None else None


@dataclass(frozen=True, slots=True)
class _Climb:
    """One ramp of one line."""

    settings: Settings
    line: int | None
    schedule: Schedule
    guardrails: Guardrails
    report: Callable[[str], None]
    world: World

    def step(self, release: int, reached: float, percent: float) -> Step:
        """To the next share, from where the ramp left it and from nowhere else."""
        reason = f"ramp to {percent:g} %"

        def change(before: Traffic) -> Traffic:
            number = self._running(before, reached) if reached else release
            return (
                promoted(before, number, reason) if percent == 100 else canaried(before, number, percent / 100, reason)
            )

        return change

    def hold(self, percent: float) -> None:
        """Until the step was held for long enough and enough answers came to judge by."""
        begun = self.world.clock()
        while not self._held(percent, begun):
            self.world.sleep(self.schedule.every_s)

    def _held(self, percent: float, begun: float) -> bool:
        try:
            seen = guard(self.settings, self.guardrails)
            if seen.verdict.broken:
                raise RampStoppedError(f"release {seen.canary} was rolled back: {seen.verdict.broken}")
            self._running(TrafficStore(self.settings).require(), percent)
        except ServerError as error:
            self.report(f"not looked: {error}")
            return False
        return seen.verdict.enough and self.world.clock() - begun >= self.schedule.hold_s

    def _running(self, traffic: Traffic, percent: float) -> int:
        """The release that is at `percent` for the line."""
        arm = traffic.arm(CANARY)
        if arm is None or _line(traffic, arm.release) != self.line or not math.isclose(100 * arm.share, percent):
            last = f"{traffic.changed.action} {traffic.changed.reason}".strip()
            raise RampStoppedError(
                f"line {self.line} is the canary at {percent:g} % no more; the last change was: {last}"
            )
        return arm.release
