"""The loop: look at Triton's counters, ask whoever answered nobody since, judge, and mend.

    counts ─ nothing loaded ─→ refill
       └─ each version: progressed? well : ask → replies → judge → dead or hung → reload, with growing pauses
"""  # fmt: skip

import time
from collections import defaultdict
from dataclasses import dataclass

import structlog

from deploy.settings import Settings
from exporters.errors import BusyError, ExportError, ServerError
from exporters.server import Server
from exporters.watchdog.ask import Asker, Counts
from exporters.watchdog.judge import Health, Reloads, Verdict
from exporters.watchdog.mend import refill, reload_version
from exporters.watchdog.telemetry import ANSWERS, LAST_LOOK, REFILLS, RELOADS, WELL
from model_repository.traffic import ServedModel

EVERY_S = 0.5
ASK_EVERY_S = 2.0  # who answers nobody; one whose last answer named a dead stub is asked again at once
AWAY_S = 150.0  # without a look at Triton; more than a reload of one version may take
LATER_S = 10.0  # after a refill that did nothing
STARTED_S = 1.0  # a server that has held nothing for so long waits for nobody else to fill it
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Watched:
    """One version: how it does, and what was done."""

    health: Health
    reloads: Reloads
    token: int = 0
    asked_at: float = float("-inf")
    verdict: Verdict = "unknown"


class Watchdog:
    """Of one server, `url`. In explicit mode it mends; in `--model-control-mode=none` it only says what is broken, and
    whoever probes `/healthz` restarts the server."""

    def __init__(self, settings: Settings, url: str = "") -> None:
        self._settings = settings
        self._asker = Asker(url or settings.triton_url)
        self._server = Server(url or settings.triton_url, settings.triton_key)
        self._mends = settings.triton_control == "explicit"
        self._watched: dict[ServedModel, Watched] = {}
        self._reloads: defaultdict[ServedModel, Reloads] = defaultdict(Reloads)  # pauses outlast a server that is away
        self._empty_since: float | None = None
        self._answered_at = time.monotonic()

    def broken(self) -> list[str]:
        """What nothing here will bring back, a silent server included: it has to be restarted. Called from anywhere."""
        found = [
            f"{name}/{version}"
            for (name, version), one in list(self._watched.items())
            if one.verdict in ("dead", "hung") and (one.reloads.given_up or not self._mends)
        ]
        return sorted(found) if time.monotonic() - self._answered_at < AWAY_S else ["triton"]

    def look(self) -> None:
        """Once; it takes as long as what it mends. A server that is away or stands still is nobody's broken model: what
        was known of it is forgotten."""
        try:
            counts = self._asker.counts()
            self._look(counts)
        except ServerError as error:
            if self._watched:
                log.warning("triton_away", error=str(error))
            self._forget()
            return
        self._answered_at = time.monotonic()
        LAST_LOOK.set_to_current_time()

    def _look(self, counts: dict[ServedModel, Counts]) -> None:
        now = time.monotonic()
        self._fill(bool(counts), now)
        for gone in set(self._watched) - set(counts):
            self._drop(gone)
        for served, count in counts.items():
            if served not in self._watched:
                health = Health(answered=count.answered, failed=count.failed)
                self._watched[served] = Watched(health, self._reloads[served])
            self._watched[served].health.looked(*count, now)
        self._take_replies()
        for served in counts:
            self._ask(served, now)
        for served in counts:
            self._judge(served, now)

    def _take_replies(self) -> None:
        for served, token, error in self._asker.replies():
            one = self._watched.get(served)
            if one is not None and one.token == token:
                one.health.replied(error)
                ANSWERS.labels(served[0], "answer" if error is None else "error").inc()
                if error is not None:
                    log.warning("canary_failed", model=served[0], version=served[1], error=error)

    def _ask(self, served: ServedModel, now: float) -> None:
        """Unless somebody's question was just answered, or ours is still out or was the last."""
        one, question = self._watched[served], self._asker.question(served)
        health = one.health
        busy = health.asked_at is not None or health.progressed_at == now
        if question is None or busy or (now - one.asked_at < ASK_EVERY_S and not health.deaths):
            return
        if question.warmed or health.answered or one.reloads.in_a_row:
            one.token, one.asked_at = one.token + 1, now
            health.asked(now)
            self._asker.ask(served, question, one.token)

    def _judge(self, served: ServedModel, now: float) -> None:
        one = self._watched[served]
        one.verdict = one.health.verdict(now, self._vouched(served))
        if one.verdict == "well":
            one.reloads.well(now)
        if one.verdict != "unknown":
            WELL.versions[served] = one.verdict == "well"
        if one.verdict in ("dead", "hung") and self._mends and one.reloads.due(now):
            self._reload(served, one)

    def _vouched(self, served: ServedModel) -> bool:
        asked = self._watched[served].health.asked_at
        others = (one.health.progressed_at for other, one in self._watched.items() if other != served)
        return asked is not None and any(at is not None and at > asked for at in others)

    def _reload(self, served: ServedModel, one: Watched) -> None:
        name, version = served
        began, why = time.monotonic(), one.verdict
        log.error("model_broken", model=name, version=version, verdict=why, reloads=one.reloads.in_a_row)
        try:
            reload_version(self._server, self._settings.runtime_repository, served)
        except ServerError as error:
            log.error("model_not_reloaded", model=name, version=version, error=str(error))
            RELOADS.labels(name, why, "failed").inc()
        else:
            log.warning("model_reloaded", model=name, version=version, seconds=round(time.monotonic() - began, 2))
            RELOADS.labels(name, why, "done").inc()
        one.reloads.reloaded(time.monotonic())
        if one.reloads.given_up:
            log.error("model_given_up", model=name, version=version, next_try_s=one.reloads.pause_s)
        one.health, one.token = Health(answered=one.health.answered, failed=one.health.failed), one.token + 1

    def _fill(self, holds: bool, now: float) -> None:
        """A server that was restarted holds nothing."""
        self._empty_since = None if holds or not self._mends else (self._empty_since or now)
        if self._empty_since is None or now - self._empty_since < STARTED_S:
            return
        self._empty_since = now + LATER_S
        try:
            releases = refill(self._settings, self._server)
        except BusyError:
            return  # a publisher is at work on it
        except ExportError as error:
            log.error("server_not_refilled", error=str(error))
            REFILLS.labels("failed").inc()
            return
        if releases:
            log.warning("server_refilled", releases=releases, seconds=round(time.monotonic() - now, 2))
            REFILLS.labels("done").inc()

    def _drop(self, served: ServedModel) -> None:
        del self._watched[served]
        WELL.versions.pop(served, None)

    def _forget(self) -> None:
        self._empty_since = None
        for served in list(self._watched):
            self._drop(served)
