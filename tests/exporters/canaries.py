"""A record with a canary, and the heartbeats of orchestrators that are not there."""

import time

from deploy.settings import Settings
from exporters.rollout import canaried, listed
from exporters.traffic import TrafficStore
from model_repository.traffic import HEARTBEAT_TTL_S, LATENCY_BOUNDS_S, Heartbeat, Tally, heartbeat_key
from tests.exporters.test_rollout import release

BUCKETS = len(LATENCY_BOUNDS_S) + 1
FAST, SLOW = 5, 13  # buckets of 10 ms and of 150 ms


def tally(answers: int = 1000, *, failed: int = 0, degraded: int = 0, slow: int = 0) -> Tally:
    latency = [0] * BUCKETS
    latency[FAST], latency[SLOW] = answers - slow, slow
    return Tally(answers=answers, degraded=degraded, failed=failed, latency=tuple(latency))


def with_canary(settings: Settings) -> TrafficStore:
    """Release 1 is the champion, 2 of another line the canary with 5 %."""
    settings.workspace.mkdir(parents=True)
    store = TrafficStore(settings)
    store._redis.flushall()
    store.change(lambda before: listed(before, release(1, 1)))
    store.change(lambda before: listed(before, release(2, 2)))
    store.change(lambda before: canaried(before, 2, 0.05))  # type: ignore[arg-type]
    return store


def beat(settings: Settings, instance: str, counted: dict[int, Tally] | None = None) -> None:
    """A heartbeat with tallies by release."""
    content = Heartbeat(instance=instance, at=time.time(), sequence=1, releases=(1, 2), tallies=counted or {})
    TrafficStore(settings)._redis.set(heartbeat_key(instance), content.model_dump_json(), ex=HEARTBEAT_TTL_S)


def arms(settings: Settings) -> dict[str, int]:
    """Who is what."""
    return {arm.variant: arm.release for arm in TrafficStore(settings).require().arms}
