"""The controller: looks at a running canary, rolls it back when a guardrail breaks, and says why.

It changes nothing but the canary's arm, and nothing at all when it could not look (Redis away, no heartbeats).
"""

import json
from dataclasses import dataclass

import structlog

from deploy.settings import Settings
from exporters.errors import TrafficError
from exporters.guard.judge import Guardrails, Verdict, judge
from exporters.guard.window import Window, look
from exporters.rollout import rolled_back
from exporters.shift import shift
from exporters.traffic import TrafficStore, now
from model_repository.traffic import CANARY, CHAMPION, Traffic

LOG = "rollouts.jsonl"
NO_VERDICT = Verdict()
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the record: the canary, the verdict on it, and whether it was rolled back."""

    canary: int | None = None
    share: float = 0.0
    answers: int = 0
    seconds: float = 0.0
    verdict: Verdict = NO_VERDICT
    rolled_back: bool = False


def guard(settings: Settings, guardrails: Guardrails) -> Look:
    """Look once. Raises ServerError when Redis does not answer; nothing changed then."""
    store = TrafficStore(settings)
    traffic = store.require()
    canary, champion = traffic.arm(CANARY), traffic.arm(CHAMPION)
    if canary is None or champion is None:
        return Look()
    window = look(settings.workspace, traffic, store.heartbeats())
    verdict = judge(window.of(champion.release), window.of(canary.release), canary.share, guardrails)
    done = bool(verdict.broken) and _roll_back(settings, canary.release, verdict.broken, window)
    tally = window.of(canary.release)
    return Look(
        canary=canary.release,
        share=canary.share,
        answers=tally.answers + tally.failed,
        seconds=window.seconds,
        verdict=verdict,
        rolled_back=done,
    )


def _roll_back(settings: Settings, release: int, reason: str, window: Window) -> bool:
    """End the canary, unless somebody else did meanwhile."""

    def step(before: Traffic) -> Traffic:
        canary = before.arm(CANARY)
        if canary is None or canary.release != release:
            raise TrafficError(f"release {release} is the canary no more")
        return rolled_back(before, reason=f"guard: {reason}")

    try:
        shift(settings, step, force=True)
    except TrafficError as error:
        log.info("rollback_not_needed", release=release, why=str(error))
        return False
    log.error("canary_rolled_back", release=release, reason=reason)
    _note(settings, release, reason, window)
    return True


def _note(settings: Settings, release: int, reason: str, window: Window) -> None:
    settings.logs.mkdir(parents=True, exist_ok=True)
    tallies = {number: tally.model_dump() for number, tally in window.tallies.items()}
    entry = {"at": now().isoformat(), "release": release, "reason": reason, "tallies": tallies}
    with (settings.logs / LOG).open("a") as file:
        file.write(json.dumps(entry) + "\n")
