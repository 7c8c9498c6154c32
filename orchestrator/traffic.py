"""Which release answers whom: follows the traffic record, keeps the last good one, assigns users to arms.

A user's arm depends on (salt, user) and the shares alone, so it is the same in every orchestrator and survives outages.
"""

import hashlib
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
from orchestrator.errors import StageError
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
    embed: Call
    recommend: Call
    candidates: Call
    embedding_prefix: str

    @classmethod
    def prepare(cls, served: ServedRelease) -> "Release":
        """Everything of a release that no request changes."""
        return cls(
            number=served.release,
            models=(served.user_tower, served.candidates, served.recommend),
            embed=Call(contract.USER_TOWER, served.user_tower, contract.USER_TOWER.outputs),
            recommend=Call(contract.RECOMMEND, served.recommend, contract.sized(RECOMMEND_OUTPUTS, served.ranked)),
            candidates=Call(
                contract.CANDIDATE_SEARCH, served.candidates, contract.sized(CANDIDATE_OUTPUTS, served.ranked)
            ),
            embedding_prefix=f"embedding:{served.tower_digest}:{served.schema_hash}:",
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
    def of(cls, record: Traffic) -> "Plan":
        """Prepare every release of the record."""
        releases = {served.release: Release.prepare(served) for served in record.releases}
        ends = accumulate(arm.share for arm in record.arms)
        arms = [Assignment(arm.variant, releases[arm.release]) for arm in record.arms]
        return cls(record, releases, tuple(zip(ends, arms, strict=True)), salt_key(record.salt))

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

    `refresh` is called on a beat, and when Triton does not know a model.
    """

    def __init__(self, store: Store, mirror_file: Path) -> None:
        self._store = store
        self._file = mirror_file
        self._raw: bytes | None = None
        self.plan: Plan | None = None
        self.materialized: Materialized | None = None

    async def start(self) -> None:
        """Redis first; when it is away, the mirror."""
        await self.refresh()
        if self.plan is None and (content := mirror.load(self._file)) is not None:
            self._adopt(content)

    async def refresh(self, timeout_s: float = READ_TIMEOUT_S) -> bool:
        """Read the record again. Whether the plan changed; an outage or a bad record changes nothing."""
        try:
            ((content, marker),) = await self._store.execute([("MGET", TRAFFIC_KEY, marker_key())], timeout_s)
        except StageError:
            return False
        self.materialized = read_marker(marker)
        if content is None or content == self._raw or not self._adopt(content):
            return False
        mirror.save(self._file, content)
        return True

    def _adopt(self, content: bytes) -> bool:
        """Make the record the current one, unless it is unreadable, older, or of another feature schema."""
        self._raw = content
        try:
            record = Traffic.model_validate_json(content)
        except ValidationError as error:
            log.error("traffic_record_refused", problems=error.error_count())
            return False
        if problem := self._objection(record):
            log.error("traffic_record_refused", problem=problem, sequence=record.sequence)
            return False
        self.plan = Plan.of(record)
        log.info("traffic", sequence=record.sequence, arms=[(a.variant, a.release, a.share) for a in record.arms])
        return True

    def _objection(self, record: Traffic) -> str | None:
        served = {arm.release for arm in record.arms}
        if any(r.schema_hash != SCHEMA.hash for r in record.releases if r.release in served):
            return "another feature schema"
        if self.plan is not None and record.sequence < self.plan.record.sequence:
            return "an older sequence"
        return None
