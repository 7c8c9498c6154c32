"""Which release answers whom: follows the traffic record, keeps the last good one, assigns users to arms.

A user's arm depends on (salt, user) and the shares alone, so it is the same in every orchestrator and survives outages.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path

import orjson
import structlog
from pydantic import ValidationError

from feature_repo.rows import marker_key
from feature_repo.schema import SCHEMA
from model_repository import contract
from model_repository.traffic import TRAFFIC_KEY, ServedModel, ServedRelease, Traffic
from orchestrator import mirror
from orchestrator.contact import Contact
from orchestrator.deadline import Clock
from orchestrator.errors import StageError
from orchestrator.metrics import TRAFFIC_REFUSED, child
from orchestrator.reasons import Reasons
from orchestrator.redis_link import Store
from orchestrator.triton import Call

# Only what the rules and the answer need travels.
RECOMMEND_OUTPUTS = tuple(t for t in contract.RECOMMEND.outputs if t.name != contract.SIMILARITY.name)
CANDIDATE_OUTPUTS = tuple(t for t in contract.CANDIDATE_SEARCH.outputs if t.name != contract.ITEM_FEATURES.name)
READ_TIMEOUT_S = 0.2
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A served release with its prepared calls and the prefix of its cached embeddings."""

    number: int
    models: tuple[ServedModel, ...]
    targets: tuple[str, ...]
    embed: Call
    recommend: Call
    candidates: Call
    embedding_prefix: str
    reasons: Reasons | None = None

    @classmethod
    def prepare(cls, served: ServedRelease) -> "Release":
        """Everything of a release that no request changes."""

        def call(model: contract.Model, of: ServedModel, outputs: tuple[contract.Tensor, ...]) -> Call:
            return Call(model, of, contract.sized(outputs, served.ranked), served.triton)

        return cls(
            number=served.release,
            models=(served.user_tower, served.candidates, served.recommend),
            targets=served.triton,
            embed=call(contract.USER_TOWER, served.user_tower, contract.USER_TOWER.outputs),
            recommend=call(contract.RECOMMEND, served.recommend, RECOMMEND_OUTPUTS),
            candidates=call(contract.CANDIDATE_SEARCH, served.candidates, CANDIDATE_OUTPUTS),
            embedding_prefix=f"embedding:{served.tower_digest}:{served.schema_hash}:",
            reasons=Reasons.prepare(served),
        )


@dataclass(frozen=True, slots=True)
class Assignment:
    """The arm a user is in."""

    variant: str
    release: Release


@dataclass(frozen=True, slots=True)
class Plan:
    """A traffic record made ready: arms by the upper end of their share of [0, 1)."""

    record: Traffic
    releases: dict[int, Release]
    bounds: tuple[tuple[float, Assignment], ...]
    salt_key: bytes

    @classmethod
    def of(cls, record: Traffic, before: "Plan | None" = None) -> "Plan":
        """Prepare every release of the record; one that the plan before had just so is taken over."""
        releases = {
            served.release: (before and before.prepared(served)) or Release.prepare(served)
            for served in record.releases
        }
        ends = accumulate(arm.share for arm in record.arms)
        arms = [Assignment(arm.variant, releases[arm.release]) for arm in record.arms]
        return cls(record, releases, tuple(zip(ends, arms, strict=True)), salt_key(record.salt))

    def prepared(self, served: ServedRelease) -> Release | None:
        """The release, if the record said exactly this of it."""
        return self.releases[served.release] if self.record.served(served.release) == served else None

    def assign(self, user_id: str) -> Assignment:
        """The user's arm; the last arm takes what rounding leaves."""
        point = bucket(self.salt_key, user_id)
        return next((arm for end, arm in self.bounds if point < end), self.bounds[-1][1])


def salt_key(salt: str) -> bytes:
    """The key of `bucket` for a salt of any length."""
    return hashlib.sha256(salt.encode()).digest()


def bucket(key: bytes, user_id: str) -> float:
    """A point in [0, 1), the same for ever for the same (salt, user)."""
    digest = hashlib.blake2b(user_id.encode(), digest_size=8, key=key).digest()
    return (int.from_bytes(digest, "big") >> 11) / (1 << 53)


@dataclass(frozen=True, slots=True)
class Materialized:
    """When the online features were written (`at`) and which moment they call now (`as_of`), unix seconds."""

    at: float
    as_of: float

    def age(self, computed_at: float, now: float) -> float:
        """Seconds since a row was true: its age when it was written plus the time since, so history stays young."""
        return (self.as_of - computed_at) + (now - self.at)


def read_marker(content: bytes | None) -> Materialized | None:
    """The marker, or None when it is absent or unreadable: then no user row can be expected in Redis."""
    try:
        marker = orjson.loads(content or b"{}")
        at, as_of = (datetime.fromisoformat(marker[name]).timestamp() for name in ("at", "as_of"))
    except (KeyError, TypeError, ValueError):
        return None
    return Materialized(at, as_of)


class TrafficFollower:
    """Holds the current plan and when features were materialised.

    `refresh` is called on a beat, and when Triton does not know a model. `before_adopting` is called with a record that
    is about to be followed, so that the connections it needs are there first.
    """

    def __init__(self, store: Store, mirror_file: Path, linger_s: float = 0.2, clock: Clock = time.monotonic) -> None:
        self._store = store
        self._file = mirror_file
        self._linger_s = linger_s
        self._clock = clock
        self._raw: bytes | None = None
        self._good: bytes | None = None
        self._left: list[tuple[float, Plan]] = []
        self.contact = Contact(clock)
        self.before_adopting: Callable[[Traffic], None] = lambda _: None
        self.plan: Plan | None = None
        self.materialized: Materialized | None = None

    async def start(self) -> None:
        """The mirror, then Redis where it has a later record."""
        if (content := mirror.load(self._file)) is not None:
            self._adopt(content)
        await self.refresh()

    async def refresh(self, timeout_s: float = READ_TIMEOUT_S) -> bool:
        """Read the record again. Whether the plan changed; an outage or a bad record changes nothing."""
        try:
            ((content, marker),) = await self._store.execute([("MGET", TRAFFIC_KEY, marker_key())], timeout_s)
        except StageError as error:
            self.contact.lost(error.reason)
            return False
        self.materialized = read_marker(marker)
        return self._take(content)

    def _take(self, content: bytes | None) -> bool:
        """What Redis holds now. Only a record that is followed confirms itself."""
        if content is None:
            self.contact.lost("absent")
            return False
        changed = content != self._raw and self._adopt(content)
        if changed:
            mirror.save(self._file, content)
        if content == self._good:
            self.contact.made(changed)
        else:
            self.contact.lost("refused")
        return changed

    def in_use(self) -> list[Plan]:
        """The current plan and those that a request in flight may still follow: no request outlives `linger_s`."""
        now = self._clock()
        self._left = [(at, plan) for at, plan in self._left if now - at < self._linger_s]
        return [*(plan for _, plan in self._left), *([self.plan] if self.plan else [])]

    def _adopt(self, content: bytes) -> bool:
        """Follow the record, unless it is unreadable, older, or of another feature schema. Whether the plan changed."""
        self._raw = content
        try:
            record = Traffic.model_validate_json(content)
        except ValidationError as error:
            return self._refuse("unreadable", problems=error.error_count())
        if problem := self._objection(record):
            return self._refuse(problem, sequence=record.sequence)
        self._good = content
        if self.plan is not None and record == self.plan.record:
            return False
        self.before_adopting(record)
        if self.plan is not None:
            self._left.append((self._clock(), self.plan))
        self.plan = Plan.of(record, self.plan)
        arms = [(arm.variant, arm.release, arm.share) for arm in record.arms]
        log.info("traffic", sequence=record.sequence, arms=arms, **record.changed.model_dump(mode="json"))
        return True

    def _refuse(self, reason: str, **facts: int) -> bool:
        child(TRAFFIC_REFUSED, reason).inc()
        log.error("traffic_record_refused", reason=reason, **facts)
        return False

    def _objection(self, record: Traffic) -> str | None:
        if any(r.schema_hash != SCHEMA.hash for r in record.releases if r.release in record.carried):
            return "another_schema"
        if self.plan is not None and record.sequence < self.plan.record.sequence:
            return "older"
        return None
