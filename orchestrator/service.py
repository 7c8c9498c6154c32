"""The parts of a running orchestrator and their life: what starts, what beats, what is flushed at the end."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from model_repository.traffic import HEARTBEAT_EVERY_S, MIRROR
from orchestrator.answers import Answers
from orchestrator.availability import Availability
from orchestrator.contact import Contact
from orchestrator.events import Events
from orchestrator.explain import Explainer
from orchestrator.fleet import Connect, Fleet
from orchestrator.heartbeat import Pulse
from orchestrator.impression_log import ImpressionLog
from orchestrator.items import Items
from orchestrator.ladder import Ladder
from orchestrator.lag import Lag
from orchestrator.limit import Limit
from orchestrator.metrics import (
    IN_FLIGHT,
    LIMITED,
    OVERLAY_AGE,
    OVERLAY_POSITION,
    TRAFFIC_AGE,
    TRAFFIC_SEQUENCE,
    WITHDRAWN,
)
from orchestrator.policy import Policy
from orchestrator.popular import Limits, PopularFollower
from orchestrator.recommend import Recommender
from orchestrator.redis_link import Store
from orchestrator.traffic import Plan, TrafficFollower
from orchestrator.users import UserRowSource, Users
from orchestrator.withdrawn import MIRROR as WITHDRAWN_MIRROR
from orchestrator.withdrawn import WithdrawnFollower
from orchestrator.writer import Writer

READY_TIMEOUT_S = 0.5
RETRY_POPULAR_S = 5.0
LINGER = 2.0  # deadlines after which no request follows the record before
OpenRows = Callable[[], Awaitable[UserRowSource | None]]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """`reasons`: why not ready, empty when it is. `lacking`: servers without a model that another one has."""

    reasons: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class Service:
    """Built by `build`; `start` and `stop` bracket serving."""

    policy: Policy
    fleet: Fleet
    traffic: TrafficFollower
    popular: PopularFollower
    withdrawn: WithdrawnFollower
    availability: Availability
    users: Users
    writer: Writer
    log: ImpressionLog
    events: Events
    pulse: Pulse
    lag: Lag
    recommender: Recommender
    explainer: Explainer
    open_rows: OpenRows
    draining: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _settled: Plan | None = None
    _warmed: frozenset[int] = frozenset()
    _popular_due: float = 0.0

    async def start(self) -> None:
        """Take what is known, connect, start the beats. Nothing that is away keeps the service from starting."""
        self.popular.load_mirror()
        await self.traffic.start()
        await self.withdrawn.start()
        await self._settle()
        await self.writer.start()
        await self.log.start()
        await self._open_rows()
        self.lag.start()
        beats = (
            ("traffic", self._refresh, self.policy.traffic_every_s),
            ("overlay", self.withdrawn.refresh, self.policy.overlay.every_s),
            ("settle", self._settle, self.policy.traffic_every_s),
            ("heartbeat", self.pulse.beat, HEARTBEAT_EVERY_S),
        )
        self._tasks = [asyncio.create_task(beat(work, every_s), name=name) for name, work, every_s in beats]

    async def stop(self) -> None:
        """End the beats, flush the log, close the connections."""
        self.draining = True
        self.lag.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self.writer.close(), self.log.close())
        await self.pulse.end()
        await self.fleet.close()

    async def readiness(self) -> Readiness:
        """One server that has a model is enough to serve it; those that lack it are told apart."""
        plan = self.traffic.plan
        if self.draining:
            return Readiness(reasons=["shutting down"])
        if plan is None:
            return Readiness(reasons=["no traffic record"])
        models = sorted({(model, arm.release.targets) for _, arm in plan.bounds for model in arm.release.models})
        lacking = await asyncio.gather(*(self.fleet.lacking(*model, READY_TIMEOUT_S) for model in models))
        found = Readiness()
        for ((name, version), targets), without in zip(models, lacking, strict=True):
            if len(without) == len(targets):
                found.reasons.append(f"{name}/{version} is not ready")
            else:
                found.lacking.extend(f"{target} lacks {name}/{version}" for target in without)
        return found

    async def _refresh(self) -> None:
        await self.traffic.refresh()

    async def _settle(self) -> None:
        """Warm what is new, read popular items, close what nobody needs. Never in the way of the next record."""
        plan, now = self.traffic.plan, time.monotonic()
        if plan is None:
            return
        await self.fleet.keep({target for used in self.traffic.in_use() for target in used.record.endpoints})
        if plan is self._settled and now < self._popular_due:
            return
        await self._warm(plan)
        complete = await self.popular.refresh(plan.releases)
        self._popular_due = now + (self.policy.popular_every_s if complete else RETRY_POPULAR_S)
        self._settled = plan

    async def _warm(self, plan: Plan) -> None:
        """Send a first call through each release that is new here."""
        await self.recommender.ladder.warm(r for number, r in plan.releases.items() if number not in self._warmed)
        self._warmed = frozenset(plan.releases)

    async def _open_rows(self) -> None:
        try:
            self.users.source = await self.open_rows()
        except Exception:
            log.exception("feature_store_not_opened")  # a missing row is then an unknown user


async def beat(work: Callable[[], Awaitable[None]], every_s: float) -> None:
    """Do it again and again; one that fails is logged, and the next one tries again."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await work()
        except Exception:
            log.exception("beat_failed")


def confirmed(contact: Contact) -> float:
    """Seconds since Redis confirmed what is followed, for a gauge."""
    return age if (age := contact.age()) is not None else math.inf


def build(
    policy: Policy, store: Store, connect: Connect, folder: Path, impressions: Path | None, open_rows: OpenRows
) -> Service:
    """Wire a service. `folder` holds the mirrors, `impressions` is the file that the log spills to while Redis is away;
    all I/O comes from the arguments."""
    writer, impression_log = Writer(store, policy.write_queue), ImpressionLog(store, impressions, policy.log)
    traffic = TrafficFollower(store, folder / MIRROR, LINGER * policy.deadline_s)
    limits: Limits = {}
    popular = PopularFollower(store, folder, limits)
    withdrawn = WithdrawnFollower(store, folder / WITHDRAWN_MIRROR, policy.overlay, limits)
    users, items = Users(store, traffic, writer, policy), Items(store, policy)
    answers = Answers(store, writer, policy.answers)
    fleet = Fleet(connect, policy.breaker)
    traffic.before_adopting = lambda record: fleet.open(record.endpoints)
    lag = Lag(policy.lag)
    limit = Limit(policy.max_in_flight, lag)
    IN_FLIGHT.set_function(lambda: limit.in_flight)
    TRAFFIC_SEQUENCE.set_function(lambda: traffic.plan.record.sequence if traffic.plan else 0)
    TRAFFIC_AGE.set_function(lambda: confirmed(traffic.contact))
    OVERLAY_POSITION.set_function(lambda: withdrawn.position.sequence if withdrawn.position else 0)
    OVERLAY_AGE.set_function(lambda: confirmed(withdrawn.contact))
    WITHDRAWN.set_function(lambda: len(withdrawn.keys))
    LIMITED.set_function(lambda: len(limits))
    recommender = Recommender(
        policy=policy,
        limit=limit,
        traffic=traffic,
        users=users,
        ladder=Ladder(fleet, users, answers, popular, policy),
        items=items,
        answers=answers,
        log=impression_log,
        withdrawn=withdrawn,
    )
    return Service(
        policy=policy,
        fleet=fleet,
        traffic=traffic,
        popular=popular,
        withdrawn=withdrawn,
        availability=Availability(store, policy.overlay),
        users=users,
        writer=writer,
        log=impression_log,
        events=Events(store, traffic, users, items, policy),
        pulse=Pulse(store, traffic),
        lag=lag,
        recommender=recommender,
        explainer=Explainer(recommender, fleet, policy),
        open_rows=open_rows,
    )
