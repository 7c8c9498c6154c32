"""The traffic record: which releases answer which share of users, and where. Exporters write it, orchestrators follow.

One JSON document under `TRAFFIC_KEY` in Redis, mirrored to a local file, so that it outlives a Redis outage and a
restart during it. Promote, canary and roll back change only this record; nothing is loaded or unloaded. The other
direction is the heartbeat: every orchestrator says which releases it may still call and how they do.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from model_repository.contract import CANDIDATES

TRAFFIC_KEY = "traffic"
MIRROR = "traffic.json"  # of the workspace; whoever writes or follows the record keeps it there as well
HEARTBEATS = "orchestrator:"  # prefix of the heartbeats' keys
HEARTBEAT_EVERY_S = 1.0
HEARTBEAT_TTL_S = 15  # a killed orchestrator stops counting after this
CHAMPION, CANARY = "champion", "canary"
LATENCY_BOUNDS_S = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0)
ServedModel = tuple[str, int]  # Triton model name, version
Action = Literal["publish", "promote", "canary", "rollback", "refresh", "retire", "restore"]


def popular_key(release: int) -> str:
    """Redis key of a release's popular items, a `Popular` document."""
    return f"popular:{release}"


def heartbeat_key(instance: str) -> str:
    """Redis key of an orchestrator's `Heartbeat`."""
    return HEARTBEATS + instance


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServedRelease(_Record):
    """What an orchestrator must know of a release: the models to call and on which servers (`host:port`), the keys its
    caches carry, and how many candidates it answers. Without `explain` its scores cannot be explained."""

    release: Annotated[int, Field(ge=1)]
    line: Annotated[int, Field(ge=1)]
    user_tower: ServedModel
    candidates: ServedModel
    recommend: ServedModel
    tower_digest: str
    schema_hash: str
    triton: Annotated[tuple[str, ...], Field(min_length=1)]
    ranked: Annotated[int, Field(ge=1)] = CANDIDATES
    assemble: ServedModel | None = None
    explain: ServedModel | None = None


class Arm(_Record):
    """A share of users, by hash of (salt, user)."""

    variant: str
    release: int
    share: Annotated[float, Field(gt=0, le=1)]


class Change(_Record):
    """What the last writer did, and why."""

    action: Action
    reason: str = ""
    at: datetime


class Traffic(_Record):
    """The whole record; `sequence` grows with every change.

    `arms` are the champion's and, while one is tried, the canary's. `releases` are all that are loaded: those of the
    arms and those that a rollback may go to. `champions` is the order in which releases became champion, newest last.
    """

    sequence: Annotated[int, Field(ge=1)]
    salt: str
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    releases: tuple[ServedRelease, ...]
    champions: tuple[int, ...] = ()
    changed: Change

    @model_validator(mode="after")
    def _consistent(self) -> "Traffic":
        missing = sorted(self.carried - self.listed)
        if missing:
            raise ValueError(f"arms name releases {missing}, the record holds {sorted(self.listed)}")
        total = sum(arm.share for arm in self.arms)
        if abs(total - 1.0) > 1e-9:
            raise ValueError(f"shares sum to {total}, expected 1")
        if len({arm.variant for arm in self.arms}) < len(self.arms):
            raise ValueError("two arms have the same name")
        return self

    def arm(self, variant: str) -> Arm | None:
        """The arm of that name."""
        return next((arm for arm in self.arms if arm.variant == variant), None)

    @property
    def carried(self) -> frozenset[int]:
        """Releases that users are sent to."""
        return frozenset(arm.release for arm in self.arms)

    @property
    def listed(self) -> frozenset[int]:
        """Releases that are loaded."""
        return frozenset(served.release for served in self.releases)

    def served(self, release: int) -> ServedRelease | None:
        """What the record says of a release."""
        return next((served for served in self.releases if served.release == release), None)

    def line(self, variant: str) -> int | None:
        """The line that an arm serves."""
        arm = self.arm(variant)
        served = self.served(arm.release) if arm else None
        return served.line if served else None

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Every Triton server of the record, once, in order."""
        return tuple(dict.fromkeys(target for served in self.releases for target in served.triton))


class Tally(_Record):
    """What one orchestrator answered with one release since it started.

    `latency` counts answers by LATENCY_BOUNDS_S, the last one beyond them. An answer is `degraded` when the release did
    not rank or showed nothing, `failed` when the client got a 5xx; `answers` excludes `failed`.
    """

    answers: Annotated[int, Field(ge=0)] = 0
    degraded: Annotated[int, Field(ge=0)] = 0
    failed: Annotated[int, Field(ge=0)] = 0
    latency: tuple[int, ...] = (0,) * (len(LATENCY_BOUNDS_S) + 1)


class Heartbeat(_Record):
    """One orchestrator: the record it follows, the releases it may still call, and how they do.

    `at` is its wall clock in unix seconds; `instance` changes with every start, so that tallies only grow.
    """

    instance: str
    at: float
    sequence: int
    releases: tuple[int, ...]
    tallies: dict[int, Tally] = {}


class PopularItem(_Record):
    """An item of the last rung: enough to filter, show and rank it with no other service."""

    item_id: str
    price: float
    category: int
    age_days: float
    score: float
    regions: tuple[str, ...] | None = None  # None: everywhere
    metadata: dict[str, object] = {}


class Popular(_Record):
    """A release's popular items that may be sold, best first."""

    release: int
    items: tuple[PopularItem, ...]
