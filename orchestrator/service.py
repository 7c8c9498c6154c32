"""The parts of a running orchestrator and their life: what starts, what beats, what is flushed at the end."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from orchestrator.fleet import Connect, Fleet
from orchestrator.items import Items
from orchestrator.ladder import Ladder
from orchestrator.limit import Limit
from orchestrator.metrics import IN_FLIGHT
from orchestrator.policy import Policy
from orchestrator.popular import PopularFollower
from orchestrator.recommend import Recommender
from orchestrator.redis_link import Store
from orchestrator.traffic import Plan, TrafficFollower
from orchestrator.users import UserRowSource, Users
from orchestrator.writer import Writer

READY_TIMEOUT_S = 0.5
RETRY_POPULAR_S = 5.0
OpenRows = Callable[[], Awaitable[UserRowSource | None]]
log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Service:
    """Built by `build`; `start` and `stop` bracket serving."""

    policy: Policy
    fleet: Fleet
    traffic: TrafficFollower
    popular: PopularFollower
    users: Users
    writer: Writer
    recommender: Recommender
    open_rows: OpenRows
    draining: bool = False
    _task: asyncio.Task[None] | None = None
    _followed: Plan | None = None
    _popular_due: float = 0.0

    async def start(self) -> None:
        """Take what is known, connect, start the beats. Nothing that is away keeps the service from starting."""
        self.popular.load_mirror()
        await self.traffic.start()
        await self._follow()
        await self.writer.start()
        await self._open_rows()
        self._task = asyncio.create_task(self._beat(), name="traffic")

    async def stop(self) -> None:
        """End the beats, flush the log, close the connections."""
        self.draining = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self.writer.close()
        await self.fleet.close()

    async def problems(self) -> list[str]:
        """Why the service is not ready; empty when it is."""
        plan = self.traffic.plan
        if self.draining:
            return ["shutting down"]
        if plan is None:
            return ["no traffic record"]
        models = sorted({model for _, arm in plan.bounds for model in arm.release.models})
        states = await asyncio.gather(*(self.fleet.ready(model, READY_TIMEOUT_S) for model in models))
        return [f"{name}/{version} is not ready" for (name, version), ok in zip(models, states, strict=True) if not ok]

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self.policy.traffic_every_s)
            try:
                await self.traffic.refresh()
                await self._follow()
            except Exception:
                log.exception("beat_failed")  # the next beat tries again

    async def _follow(self) -> None:
        """Bring connections and popular items in line with the traffic record."""
        plan, now = self.traffic.plan, time.monotonic()
        if plan is None or (plan is self._followed and now < self._popular_due):
            return
        await self.fleet.follow(plan.record.triton)
        if plan is not self._followed:
            await self.recommender.ladder.warm(plan.releases.values())
        complete = await self.popular.refresh(plan.releases)
        self._popular_due = now + (self.policy.popular_every_s if complete else RETRY_POPULAR_S)
        self._followed = plan

    async def _open_rows(self) -> None:
        try:
            self.users.source = await self.open_rows()
        except Exception:
            log.exception("feature_store_not_opened")  # a missing row is then an unknown user


def build(
    policy: Policy, store: Store, connect: Connect, folder: Path, impressions: Path | None, open_rows: OpenRows
) -> Service:
    """Wire a service. `folder` holds the mirrors, `impressions` is the log file; all I/O comes from the arguments."""
    writer = Writer(store, impressions, policy.log_queue)
    traffic = TrafficFollower(store, folder / "traffic.json")
    popular = PopularFollower(store, folder)
    users = Users(store, traffic, writer, policy)
    fleet = Fleet(connect, policy.breaker)
    limit = Limit(policy.max_in_flight)
    IN_FLIGHT.set_function(lambda: limit.in_flight)
    recommender = Recommender(
        policy=policy,
        limit=limit,
        traffic=traffic,
        users=users,
        ladder=Ladder(fleet, users, popular, policy),
        items=Items(store, policy),
        writer=writer,
    )
    return Service(
        policy=policy,
        fleet=fleet,
        traffic=traffic,
        popular=popular,
        users=users,
        writer=writer,
        recommender=recommender,
        open_rows=open_rows,
    )
